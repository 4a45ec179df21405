//! Networks: pixels → unit vectors, and texts → unit vectors.
//!
//! **A whole network is one operation**: bytes in, vectors out, in [`Network::forward`]. The engine
//! does not depend on how it is computed, so one network can get another implementation (for example
//! our own kernels) without a change of the engine. There is one file per network; `layers` contains
//! what they share.

mod clip;
mod layers;
mod mini;
mod mobilenetv2;
mod resnet34;
mod resnet50;
mod siglip;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;
mod vit;

use burn::tensor::{Device, Tensor};

use self::{layers::conv::PixelNormaliser, tokenizer::TextTokenizer};
use crate::error::Error;
use crate::model::{
    Model,
    description::{Architecture, Description},
    weights::Weights,
};

/// A network on a device.
#[derive(Debug)]
pub(crate) struct Network {
    image_network: ImageNetwork,
    text_encoder: Option<TextEncoder>,
    normaliser: PixelNormaliser,
    side: usize,
    dimension: usize,
    /// The model's name, for errors.
    name: String,
    device: Device,
}

#[derive(Debug)]
enum ImageNetwork {
    Mini(Box<mini::Mini>),
    ResNet34(Box<resnet34::ResNet34>),
    ResNet50(Box<resnet50::ResNet50>),
    MobileNetV2(Box<mobilenetv2::MobileNetV2>),
    Vit(Box<vit::Vit>),
    Clip(Box<clip::ClipImageTower>),
    Siglip(Box<siglip::SiglipImageTower>),
}

/// Texts → vectors in the same space as images.
#[derive(Debug)]
struct TextEncoder {
    tokenizer: TextTokenizer,
    network: text::TextNetwork,
}

impl Network {
    /// Folds the batch norms and layer scales, and moves the weights to the device.
    pub(crate) fn from_model(model: &Model, device: &Device) -> Result<Self, Error> {
        let description = &model.description;
        let weights_error = |problem| Error::Weights {
            model: description.name.clone(),
            problem,
        };
        let image_network =
            load_image_network(description, &model.weights, device).map_err(weights_error)?;
        let text_encoder = load_text_encoder(model, device).map_err(weights_error)?;
        Ok(Self {
            image_network,
            text_encoder,
            normaliser: PixelNormaliser::new(
                description.preprocessing.mean,
                description.preprocessing.std,
            ),
            side: description.side() as usize,
            dimension: description.dimension,
            name: description.name.clone(),
            device: device.clone(),
        })
    }

    /// Embeds a batch of images. `pixels` has `batch * side * side * 3` bytes; the result has
    /// `batch * dimension` numbers. Each vector has unit length, or is not finite if the network or the
    /// device failed; the caller checks that.
    pub(crate) fn forward(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        assert_eq!(pixels.len(), batch * self.side * self.side * 3);
        let input = self
            .normaliser
            .to_tensor(pixels, batch, self.side, &self.device);
        let features = match &self.image_network {
            ImageNetwork::Mini(network) => network.forward(input),
            ImageNetwork::ResNet34(network) => network.forward(input),
            ImageNetwork::ResNet50(network) => network.forward(input),
            ImageNetwork::MobileNetV2(network) => network.forward(input),
            ImageNetwork::Vit(network) => network.forward(input),
            ImageNetwork::Clip(network) => network.forward(input),
            ImageNetwork::Siglip(network) => network.forward(input),
        };
        self.unit_vectors(features)
    }

    /// Embeds a batch of texts. The result has `texts.len() * dimension` numbers; each vector has unit
    /// length.
    pub(crate) fn forward_texts(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        let encoder = self.text_encoder.as_ref().ok_or_else(|| Error::NoText {
            model: self.name.clone(),
        })?;
        let tokens = texts
            .iter()
            .map(|text| encoder.tokenizer.tokenize(text))
            .collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.unit_vectors(encoder.network.forward(&tokens)))
    }

    fn unit_vectors(&self, features: Tensor<2>) -> Vec<f32> {
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

/// Loads the image network and checks that its dimension is that of the description.
fn load_image_network(
    description: &Description,
    weights: &Weights,
    device: &Device,
) -> Result<ImageNetwork, String> {
    let (side, expected) = (description.side() as usize, description.dimension);
    let tower = || {
        description
            .vision
            .as_ref()
            .ok_or("the description has no sizes (\"vision\")")
    };
    let (image_network, dimension) = match description.architecture()? {
        Architecture::Mini => (
            ImageNetwork::Mini(Box::new(mini::Mini::from_weights(weights, device)?)),
            mini::DIMENSION,
        ),
        Architecture::ResNet34 => (
            ImageNetwork::ResNet34(Box::new(resnet34::ResNet34::from_weights(weights, device)?)),
            resnet34::DIMENSION,
        ),
        Architecture::ResNet50 => (
            ImageNetwork::ResNet50(Box::new(resnet50::ResNet50::from_weights(weights, device)?)),
            resnet50::DIMENSION,
        ),
        Architecture::MobileNetV2 => (
            ImageNetwork::MobileNetV2(Box::new(mobilenetv2::MobileNetV2::from_weights(
                weights, device,
            )?)),
            mobilenetv2::DIMENSION,
        ),
        Architecture::Vit => (
            ImageNetwork::Vit(Box::new(vit::Vit::from_weights(
                weights,
                tower()?,
                side,
                device,
            )?)),
            tower()?.shape.width,
        ),
        // The projection has the expected dimension, or loading fails.
        Architecture::Clip => (
            ImageNetwork::Clip(Box::new(clip::ClipImageTower::from_weights(
                weights,
                tower()?,
                expected,
                side,
                device,
            )?)),
            expected,
        ),
        Architecture::Siglip => (
            ImageNetwork::Siglip(Box::new(siglip::SiglipImageTower::from_weights(
                weights,
                tower()?,
                side,
                device,
            )?)),
            tower()?.shape.width,
        ),
    };
    if dimension != expected {
        return Err(format!(
            "the network has the dimension {dimension}, but the description states {expected}"
        ));
    }
    Ok(image_network)
}

/// Loads the text encoder, if the description has one.
fn load_text_encoder(model: &Model, device: &Device) -> Result<Option<TextEncoder>, String> {
    let Some(tower) = &model.description.text else {
        return Ok(None);
    };
    let file = model
        .tokenizer
        .as_deref()
        .ok_or("the model has a text encoder, but no tokenizer.json: put that of its source next to the weights")?;
    let dimension = model.description.dimension;
    Ok(Some(TextEncoder {
        tokenizer: TextTokenizer::from_json(file, tower)?,
        network: text::TextNetwork::from_weights(&model.weights, tower, dimension, device)?,
    }))
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
