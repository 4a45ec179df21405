//! Networks: pixels → unit vectors, and words → unit vectors.
//!
//! **One whole network is one operation**: bytes in, vectors out, in [`Network::forward`]. What
//! happens within (burn on some device today, a kernel of our own for one of them tomorrow) is
//! nobody else's business, so a variant can be replaced without touching the engine.

mod activation;
mod clip;
mod layers;
mod linear;
mod mini;
mod mobilenetv2;
mod patches;
mod positions;
mod resnet34;
mod resnet50;
mod siglip;
#[cfg(test)]
mod tests;
mod text;
mod transformer;
mod vit;
mod words;

use burn::tensor::{Device, Tensor};

use self::{layers::Normalise, words::Words};
use crate::{
    description::{Architecture, Description},
    error::Error,
    model::Model,
    weights::Weights,
};

/// A network on a device.
#[derive(Debug)]
pub(crate) struct Network {
    body: Body,
    text: Option<TextSide>,
    normalise: Normalise,
    side: usize,
    dimension: usize,
    /// The model's, for errors.
    name: String,
    device: Device,
}

#[derive(Debug)]
enum Body {
    Mini(Box<mini::Mini>),
    ResNet34(Box<resnet34::ResNet34>),
    ResNet50(Box<resnet50::ResNet50>),
    MobileNetV2(Box<mobilenetv2::MobileNetV2>),
    Vit(Box<vit::Vit>),
    Clip(Box<clip::ImageTower>),
    Siglip(Box<siglip::ImageTower>),
}

/// Words → vectors in the space of the pictures'.
#[derive(Debug)]
struct TextSide {
    words: Words,
    network: text::TextNetwork,
}

impl Network {
    /// Folds what can be folded and moves the weights to the device.
    pub(crate) fn load(model: &Model, device: &Device) -> Result<Self, Error> {
        let description = &model.description;
        let problem = |problem| Error::Weights {
            model: description.name.clone(),
            problem,
        };
        let body = load_body(description, &model.weights, device).map_err(problem)?;
        let text = load_text(model, device).map_err(problem)?;
        Ok(Self {
            body,
            text,
            normalise: Normalise::new(
                description.preprocessing.mean,
                description.preprocessing.std,
            ),
            side: description.side() as usize,
            dimension: description.dimension,
            name: description.name.clone(),
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
            Body::ResNet50(network) => network.forward(input),
            Body::MobileNetV2(network) => network.forward(input),
            Body::Vit(network) => network.forward(input),
            Body::Clip(network) => network.forward(input),
            Body::Siglip(network) => network.forward(input),
        };
        self.unit_vectors(features)
    }

    /// Embeds texts at once: as many times `dimension` numbers, each text's of unit length.
    pub(crate) fn forward_texts(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        let side = self.text.as_ref().ok_or_else(|| Error::NoText {
            model: self.name.clone(),
        })?;
        let tokens = texts
            .iter()
            .map(|text| side.words.tokens(text))
            .collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.unit_vectors(side.network.forward(&tokens)))
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
fn load_body(
    description: &Description,
    weights: &Weights,
    device: &Device,
) -> Result<Body, String> {
    let (side, wanted) = (description.side() as usize, description.dimension);
    let tower = || {
        description
            .vision
            .as_ref()
            .ok_or("the description gives no sizes")
    };
    let (body, dimension) = match description.architecture()? {
        Architecture::Mini => (
            Body::Mini(Box::new(mini::Mini::load(weights, device)?)),
            mini::DIMENSION,
        ),
        Architecture::ResNet34 => (
            Body::ResNet34(Box::new(resnet34::ResNet34::load(weights, device)?)),
            resnet34::DIMENSION,
        ),
        Architecture::ResNet50 => (
            Body::ResNet50(Box::new(resnet50::ResNet50::load(weights, device)?)),
            resnet50::DIMENSION,
        ),
        Architecture::MobileNetV2 => (
            Body::MobileNetV2(Box::new(mobilenetv2::MobileNetV2::load(weights, device)?)),
            mobilenetv2::DIMENSION,
        ),
        Architecture::Vit => (
            Body::Vit(Box::new(vit::Vit::load(weights, tower()?, side, device)?)),
            tower()?.blocks.width,
        ),
        // Its projection has the dimension that it is asked for, or loading fails.
        Architecture::Clip => (
            Body::Clip(Box::new(clip::ImageTower::load(
                weights,
                tower()?,
                wanted,
                side,
                device,
            )?)),
            wanted,
        ),
        Architecture::Siglip => (
            Body::Siglip(Box::new(siglip::ImageTower::load(
                weights,
                tower()?,
                side,
                device,
            )?)),
            tower()?.blocks.width,
        ),
    };
    if dimension != wanted {
        return Err(format!(
            "the network gives {dimension} numbers, the description says {wanted}"
        ));
    }
    Ok(body)
}

/// The network that reads words, where the description tells of one.
fn load_text(model: &Model, device: &Device) -> Result<Option<TextSide>, String> {
    let Some(tower) = &model.description.text else {
        return Ok(None);
    };
    let file = model
        .tokenizer
        .as_deref()
        .ok_or("it has a text side, but no tokenizer.json lies beside the weights: put the one of its source there")?;
    let dimension = model.description.dimension;
    Ok(Some(TextSide {
        words: Words::load(file, tower)?,
        network: text::TextNetwork::load(&model.weights, tower, dimension, device)?,
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
