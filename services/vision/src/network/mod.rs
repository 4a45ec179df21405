//! Networks: pixels → unit vectors, and words → unit vectors.
//!
//! **One whole network is one operation**: bytes in, vectors out, in [`Network::forward`]. What
//! happens within (burn on some device today, a kernel of our own for one of them tomorrow) is
//! nobody else's business, so a variant can be replaced without touching the engine.

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
    normalise: PixelNormaliser,
    side: usize,
    dimension: usize,
    /// The model's, for errors.
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

/// Words → vectors in the space of the pictures'.
#[derive(Debug)]
struct TextEncoder {
    tokenizer: TextTokenizer,
    network: text::TextNetwork,
}

impl Network {
    /// Folds what can be folded and moves the weights to the device.
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
            normalise: PixelNormaliser::new(
                description.preprocessing.mean,
                description.preprocessing.std,
            ),
            side: description.side() as usize,
            dimension: description.dimension,
            name: description.name.clone(),
            device: device.clone(),
        })
    }

    /// Embeds `take_batch` pictures at once. `pixel_count` holds `batch * side * side * 3` bytes; the
    /// answer `batch * dimension` numbers, each picture's of unit length (or not finite, where
    /// the network or the device failed: the caller checks).
    pub(crate) fn forward(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        assert_eq!(pixels.len(), batch * self.side * self.side * 3);
        let input = self
            .normalise
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

    /// Embeds texts at once: as many times `dimension` numbers, each text's of unit length.
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

/// The network that reads pictures, if it gives as many numbers as the description says.
fn load_image_network(
    description: &Description,
    weights: &Weights,
    device: &Device,
) -> Result<ImageNetwork, String> {
    let (side, wanted) = (description.side() as usize, description.dimension);
    let tower = || {
        description
            .vision
            .as_ref()
            .ok_or("the description gives no sizes")
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
        // Its projection has the dimension that it is asked for, or loading fails.
        Architecture::Clip => (
            ImageNetwork::Clip(Box::new(clip::ClipImageTower::from_weights(
                weights,
                tower()?,
                wanted,
                side,
                device,
            )?)),
            wanted,
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
    if dimension != wanted {
        return Err(format!(
            "the network gives {dimension} numbers, the description says {wanted}"
        ));
    }
    Ok(image_network)
}

/// The network that reads words, where the description tells of one.
fn load_text_encoder(model: &Model, device: &Device) -> Result<Option<TextEncoder>, String> {
    let Some(tower) = &model.description.text else {
        return Ok(None);
    };
    let file = model
        .tokenizer
        .as_deref()
        .ok_or("it has a text side, but no tokenizer.json lies beside the weights: put the one of its source there")?;
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
