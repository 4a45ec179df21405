//! Networks: pixels → unit vectors.
//!
//! **One whole network is one operation**: bytes in, vectors out, in [`Network::forward`]. What
//! happens within (burn on some device today, a kernel of our own for one of them tomorrow) is
//! nobody else's business, so a variant can be replaced without touching the engine.

mod layers;
mod mini;
mod resnet34;
#[cfg(test)]
mod tests;

use burn::tensor::Device;

use self::layers::Normalise;
use crate::{description::Architecture, error::Error, model::Model};

/// A network on a device.
#[derive(Debug)]
pub(crate) struct Network {
    body: Body,
    normalise: Normalise,
    side: usize,
    dimension: usize,
    device: Device,
}

#[derive(Debug)]
enum Body {
    Mini(Box<mini::Mini>),
    ResNet34(Box<resnet34::ResNet34>),
}

impl Network {
    /// Folds batch norms into convolutions and moves the weights to the device.
    pub(crate) fn load(model: &Model, device: &Device) -> Result<Self, Error> {
        let description = &model.description;
        let weights = &model.weights;
        let problem = |problem| Error::Weights {
            model: description.name.clone(),
            problem,
        };
        let body = match description.architecture().map_err(problem)? {
            Architecture::Mini => Body::Mini(Box::new(
                mini::Mini::load(weights, device).map_err(problem)?,
            )),
            Architecture::ResNet34 => Body::ResNet34(Box::new(
                resnet34::ResNet34::load(weights, device).map_err(problem)?,
            )),
        };
        let dimension = match body {
            Body::Mini(_) => mini::DIMENSION,
            Body::ResNet34(_) => resnet34::DIMENSION,
        };
        if dimension != description.dimension {
            return Err(problem(format!(
                "the network gives {dimension} numbers, the description says {}",
                description.dimension
            )));
        }
        Ok(Self {
            body,
            normalise: Normalise::new(
                description.preprocessing.mean,
                description.preprocessing.std,
            ),
            side: description.side() as usize,
            dimension,
            device: device.clone(),
        })
    }

    /// Embeds `batch` pictures at once. `pixels` holds `batch * side * side * 3` bytes; the
    /// answer `batch * dimension` numbers, each picture's of unit length (or not finite, where
    /// the network or the device failed: the caller checks).
    pub(crate) fn forward(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        assert_eq!(pixels.len(), batch * self.side * self.side * 3);
        let input = self.normalise.apply(pixels, batch, self.side, &self.device);
        let features = match &self.body {
            Body::Mini(network) => network.forward(input),
            Body::ResNet34(network) => network.forward(input),
        };
        let mut vectors = features
            .into_data()
            .convert::<f32>()
            .try_to_vec::<f32>()
            .expect("the data was just converted to f32");
        for vector in vectors.chunks_exact_mut(self.dimension) {
            to_unit_length(vector);
        }
        vectors
    }
}

/// Divides by the L2 norm, summed in double precision.
fn to_unit_length(vector: &mut [f32]) {
    let norm = vector
        .iter()
        .map(|value| f64::from(*value).powi(2))
        .sum::<f64>()
        .sqrt()
        .max(1e-12);
    for value in vector {
        *value = (f64::from(*value) / norm) as f32;
    }
}
