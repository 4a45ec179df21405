//! Networks: pixels → unit vectors, and texts → unit vectors.
//!
//! **A network is data.** A file of `architectures` builds a [`graph`]: a list of operations with their
//! weights and shapes. Passes rewrite the graph to fewer operations, and an executor runs it: our
//! own kernels on the CPU, or burn on any of its devices. Architectures know nothing about
//! executors, and executors nothing about architectures, so a new network runs everywhere and a new
//! executor runs every network. The engine sees only [`Network::forward`]: bytes in, vectors out.

mod architectures;
mod burn_executor;
mod executor;
mod graph;
mod kernel_executor;
mod pixels;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;

#[allow(unused_imports, reason = "for GPUs")]
pub(crate) use self::burn_executor::Precision;
pub(crate) use self::executor::Executor;
use self::{
    burn_executor::BurnExecutor,
    graph::Graph,
    kernel_executor::KernelExecutor,
    text::{TextInput, TextRows},
};
use crate::error::Error;
use crate::model::Model;

/// A network on a device.
#[derive(Debug)]
pub(crate) struct Network {
    image_network: LoadedGraph,
    text_encoder: Option<TextEncoder>,
    /// Bytes of an input image.
    input_bytes: usize,
    dimension: usize,
    /// The model's name, for errors.
    name: String,
}

/// Texts → vectors in the same space as images.
#[derive(Debug)]
struct TextEncoder {
    input: TextInput,
    network: LoadedGraph,
}

/// A graph with its weights where the executor needs them.
#[derive(Debug)]
enum LoadedGraph {
    Kernels(KernelExecutor),
    Burn(BurnExecutor),
}

impl LoadedGraph {
    fn new(graph: Graph, executor: &Executor) -> Result<Self, String> {
        match executor {
            Executor::Kernels(set) => KernelExecutor::new(graph, *set).map(Self::Kernels),
            Executor::Burn { device, precision } => {
                Ok(Self::Burn(BurnExecutor::new(graph, device, *precision)))
            }
        }
    }

    fn run_images(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        match self {
            Self::Kernels(executor) => executor.run_images(pixels, batch),
            Self::Burn(executor) => executor.run_images(pixels, batch),
        }
    }

    fn run_tokens(&self, texts: &TextRows) -> Vec<f32> {
        match self {
            Self::Kernels(executor) => executor.run_tokens(&texts.rows, &texts.lengths),
            Self::Burn(executor) => executor.run_tokens(&texts.rows, &texts.lengths),
        }
    }
}

impl Network {
    /// Builds the graphs of the model and moves their weights to the executor.
    pub(crate) fn from_model(model: &Model, executor: &Executor) -> Result<Self, Error> {
        let description = &model.description;
        let load = || -> Result<(LoadedGraph, Option<TextEncoder>), String> {
            let graph = architectures::build_image_graph(description, &model.weights)?;
            let image_network = LoadedGraph::new(graph, executor)?;
            Ok((image_network, load_text_encoder(model, executor)?))
        };
        let (image_network, text_encoder) = load().map_err(|problem| Error::Weights {
            model: description.name.clone(),
            problem,
        })?;
        Ok(Self {
            image_network,
            text_encoder,
            input_bytes: description.input_bytes(),
            dimension: description.dimension,
            name: description.name.clone(),
        })
    }

    /// Embeds a batch of images. `pixels` has `batch * side * side * 3` bytes; the result has
    /// `batch * dimension` numbers. Each vector has unit length, or is not finite if the network or the
    /// device failed; the caller checks that.
    pub(crate) fn forward(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        assert_eq!(pixels.len(), batch * self.input_bytes);
        self.to_unit_vectors(self.image_network.run_images(pixels, batch))
    }

    /// Embeds a batch of texts. The result has `texts.len() * dimension` numbers; each vector has unit
    /// length.
    pub(crate) fn forward_texts(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        let encoder = self.text_encoder.as_ref().ok_or_else(|| Error::NoText {
            model: self.name.clone(),
        })?;
        let rows = encoder.input.embed_tokens(texts)?;
        if rows.lengths.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.to_unit_vectors(encoder.network.run_tokens(&rows)))
    }

    fn to_unit_vectors(&self, mut vectors: Vec<f32>) -> Vec<f32> {
        for vector in vectors.chunks_exact_mut(self.dimension) {
            to_unit_length(vector);
        }
        vectors
    }
}

/// Loads the text encoder, if the description has one.
fn load_text_encoder(model: &Model, executor: &Executor) -> Result<Option<TextEncoder>, String> {
    let Some(tower) = &model.description.text else {
        return Ok(None);
    };
    let file = model
        .tokenizer
        .as_deref()
        .ok_or("the model has a text encoder, but no tokenizer.json: put that of its source next to the weights")?;
    let input = TextInput::from_weights(file, &model.weights, tower)?;
    let dimension = model.description.dimension;
    let graph = architectures::text::build_text_graph(tower, &model.weights, dimension)?;
    Ok(Some(TextEncoder {
        input,
        network: LoadedGraph::new(graph, executor)?,
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
