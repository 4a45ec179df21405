//! Tensors on a device.

use std::fmt;

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Number format of the weights and intermediate results on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    #[allow(dead_code, reason = "for GPUs")]
    F16,
    #[allow(dead_code, reason = "for GPUs")]
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl Precision {
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// Where tensors are created, and in which format.
#[derive(Debug, Clone)]
pub(super) struct TensorPlace {
    pub device: Device,
    pub dtype: DType,
}

impl TensorPlace {
    /// Moves numbers to the device.
    pub(super) fn tensor<const D: usize>(&self, numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(numbers, shape);
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    /// Moves numbers to the device in single precision.
    pub(super) fn precise_tensor<const D: usize>(
        &self,
        numbers: Vec<f32>,
        shape: [usize; D],
    ) -> Tensor<D> {
        let data = TensorData::new(numbers, shape);
        Tensor::from_data(data, (&self.device, DType::F32))
    }
}

/// A result on the device.
#[derive(Debug, Clone)]
pub(super) enum DeviceValue {
    Map(Tensor<4>),
    Rows(Tensor<2>),
}

impl DeviceValue {
    pub(super) fn into_map(self) -> Tensor<4> {
        match self {
            Self::Map(map) => map,
            Self::Rows(_) => unreachable!("the graph's shapes were checked"),
        }
    }

    pub(super) fn into_rows(self) -> Tensor<2> {
        match self {
            Self::Rows(rows) => rows,
            Self::Map(_) => unreachable!("the graph's shapes were checked"),
        }
    }
}

/// The images or texts of a run.
#[derive(Debug)]
pub(super) struct Sequences {
    pub count: usize,
    /// The number of rows of each text before padding; `None` for images.
    pub lengths: Option<Vec<usize>>,
}
