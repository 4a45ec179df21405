//! Decides whether a device computes the right vectors, before it gets work.

use super::network::{DeviceNetwork, Urgency, check_unit_vector};
use crate::{
    error::Error,
    model::{
        description::Description,
        golden::{MIN_GOLDEN_COSINE, check_golden_vector, draw_golden_picture},
    },
    preprocess::Input,
};

/// Texts that are compared, too, if the model embeds texts.
const TEXTS: [&str; 3] = ["a picture", "two dogs on a beach at night", "4711 ÷ ü"];

/// Pictures and texts with the vectors that a device must compute.
pub(super) struct DeviceCheck {
    model: String,
    texts: Vec<String>,
    golden_picture: Input,
    /// The vector of the golden picture that is stored with the weights.
    recorded_golden: Option<Vec<f32>>,
    reference: Option<ExpectedVectors>,
}

/// The vectors of the CPU in full precision.
pub(super) struct ExpectedVectors {
    pub golden: Vec<f32>,
    pictures: Vec<(Input, Vec<f32>)>,
    text_vectors: Vec<Vec<f32>>,
}

impl DeviceCheck {
    /// Checks against the recorded vector of the golden picture, if there is one.
    pub(super) fn new(description: &Description, recorded_golden: Option<Vec<f32>>) -> Self {
        let has_text = description.has_text();
        Self {
            model: description.name.clone(),
            texts: TEXTS
                .iter()
                .filter(|_| has_text)
                .map(|text| (*text).to_owned())
                .collect(),
            golden_picture: draw_golden_picture(description.side()),
            recorded_golden,
            reference: None,
        }
    }

    /// Computes what other devices are compared with.
    pub(super) fn with_reference(mut self, network: &DeviceNetwork) -> Result<Self, Error> {
        let golden = self.verify(network)?;
        let pictures = draw_check_pictures(self.golden_picture.len())
            .into_iter()
            .map(|picture| Ok((picture.clone(), network.embed_image(&picture)?)))
            .collect::<Result<_, Error>>()
            .map_err(warmup_error)?;
        let text_vectors = self.texts.iter().map(|text| network.embed_text(text));
        let text_vectors = text_vectors
            .collect::<Result<_, _>>()
            .map_err(warmup_error)?;
        self.reference = Some(ExpectedVectors {
            golden,
            pictures,
            text_vectors,
        });
        Ok(self)
    }

    /// Returns different texts if the model embeds texts.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    pub(super) fn reference(&self) -> Option<&ExpectedVectors> {
        self.reference.as_ref()
    }

    /// Embeds the pictures and texts, compares their vectors, and returns that of the golden picture.
    ///
    /// # Errors
    /// [`Error::Warmup`] if the network fails, [`Error::Golden`] if it computes other vectors.
    pub(super) fn verify(&self, network: &DeviceNetwork) -> Result<Vec<f32>, Error> {
        network.embed_trial_image().map_err(warmup_error)?;
        let golden = self.embed_golden_picture(network).map_err(warmup_error)?;
        let text_vectors = self.texts.iter().map(|text| network.embed_text(text));
        let text_vectors: Vec<Vec<f32>> = text_vectors
            .collect::<Result<_, _>>()
            .map_err(warmup_error)?;
        if let Some(expected) = &self.recorded_golden {
            self.compare(expected, &golden, "the golden picture", network)?;
        }
        let Some(reference) = &self.reference else {
            return Ok(golden);
        };
        self.compare(&reference.golden, &golden, "the golden picture", network)?;
        for (expected, actual) in reference.text_vectors.iter().zip(&text_vectors) {
            self.compare(expected, actual, "a text", network)?;
        }
        for (picture, expected) in &reference.pictures {
            let actual = network.embed_image(picture).map_err(warmup_error)?;
            self.compare(expected, &actual, "a test picture", network)?;
        }
        self.verify_batch(&reference.pictures, network)?;
        Ok(golden)
    }

    /// Returns the vector of the golden picture, which opening the device may have computed.
    fn embed_golden_picture(&self, network: &DeviceNetwork) -> Result<Vec<f32>, Error> {
        let Some(golden) = &network.golden else {
            return network.embed_image(&self.golden_picture);
        };
        check_unit_vector(golden)?;
        Ok(golden.clone())
    }

    /// Embeds several pictures at once: a device runs other programs for them than for one.
    fn verify_batch(
        &self,
        pictures: &[(Input, Vec<f32>)],
        network: &DeviceNetwork,
    ) -> Result<(), Error> {
        let inputs: Vec<&Input> = pictures.iter().map(|(picture, _)| picture).collect();
        let batch = network.embed_images(&inputs, Urgency::Background);
        let batch = batch.map_err(|failure| Error::Warmup {
            problem: failure.problem,
        })?;
        for ((_, expected), actual) in pictures.iter().zip(batch.results) {
            let actual = actual.map_err(warmup_error)?;
            self.compare(expected, &actual, "a batch of test pictures", network)?;
        }
        Ok(())
    }

    fn compare(
        &self,
        expected: &[f32],
        actual: &[f32],
        input: &'static str,
        network: &DeviceNetwork,
    ) -> Result<(), Error> {
        check_golden_vector(expected, actual).map_err(|cosine| Error::Golden {
            model: self.model.clone(),
            device: network.description.clone(),
            input,
            cosine,
            min_cosine: MIN_GOLDEN_COSINE,
        })
    }
}

fn warmup_error(error: Error) -> Error {
    Error::Warmup {
        problem: error.to_string(),
    }
}

/// Draws pictures of very different kinds: noise, one dark colour, stripes, and a soft gradient. A
/// kernel that is wrong only for small, large or equal values changes the vector of one of them.
fn draw_check_pictures(bytes: usize) -> Vec<Input> {
    let side = ((bytes / 3) as f64).sqrt() as usize;
    let mut random = 0x9e37_79b9_u32;
    let mut noise = move || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        (random >> 24) as u8
    };
    let draw = |value: &mut dyn FnMut(usize, usize, usize) -> u8| -> Input {
        let pixels = (0..bytes).map(|i| value(i / 3 % side.max(1), i / 3 / side.max(1), i % 3));
        pixels.collect()
    };
    vec![
        draw(&mut |_, _, _| noise()),
        draw(&mut |_, _, channel| 9 + channel as u8),
        draw(&mut |x, y, channel| {
            if (x / 7 + y / 11 + channel) % 2 == 0 {
                250
            } else {
                5
            }
        }),
        draw(&mut |x, y, channel| {
            ((x * (channel + 1) + y * 2) * 255 / (side * 5).max(1)).min(255) as u8
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_pictures_differ_and_never_change_size() {
        let pictures = draw_check_pictures(3 * 32 * 32);
        assert_eq!(pictures.len(), 4);
        assert!(pictures.iter().all(|picture| picture.len() == 3 * 32 * 32));
        let distinct = |picture: &Input| {
            let values: std::collections::BTreeSet<u8> = picture.iter().copied().collect();
            values.len()
        };
        let counts: Vec<usize> = pictures.iter().map(distinct).collect();
        assert!(
            counts[0] > 200 && counts[1] == 3 && counts[2] == 2 && counts[3] > 100,
            "{counts:?}"
        );
    }
}
