//! The vectors of the parts of a query: of uploaded pictures, of images of the index, and of texts.
//!
//! A picture is decoded and preprocessed here; its pixels go to an embedder.

use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lookalike_bus::EmbeddedVector;
use lookalike_index::{IndexedImage, ReadConsistency};
use lookalike_proto::{ContentHash, QueryText};
use lookalike_vision::{
    DecodedImage, Description, Input, Limits, PictureTurn, Sketch, preprocess_turned,
};

use super::decode_limiter::BlockingPermit;
use super::files::find_file;
use super::hit_bands::QueryPicture;
use super::query::{ParsedQuery, QueryInput, QueryRegion, WeightedPart};
use super::service::SearchService;
use super::visible::model::VisibleModel;
use crate::metrics::SEARCH_EMBED_SECONDS;
use crate::problem::{Code, Problem};

/// Parts of one query whose vectors are requested at the same time.
const MAX_CONCURRENT_PARTS: usize = 4;

/// The shortest side of a region, in pixels: less shows no more than a colour.
const MIN_REGION_SIDE: u32 = 16;

/// What is known of one part of a query.
pub(crate) struct PartVectors {
    /// The vector, and those of the other orientations if the query asks for them.
    pub vectors: Vec<Vec<f32>>,
    pub weight: f64,
    /// The picture, unless the part is a text.
    pub picture: Option<QueryPicture>,
    /// Differs between parts with other vectors.
    pub identity: String,
}

/// Provides the vectors of one query, all of one model.
pub(crate) struct VectorSource<'a> {
    pub service: &'a SearchService,
    pub serving: &'a VisibleModel,
    pub consistency: ReadConsistency,
    /// Whether the vectors of all orientations are needed.
    pub orientations: bool,
}

/// A decoded picture, as the network takes it.
struct PreparedPicture {
    /// One for each orientation that differs from those before it.
    inputs: Vec<Input>,
    picture: QueryPicture,
    content_hash: String,
}

impl VectorSource<'_> {
    /// Returns the vectors of all parts, in the order of the parts.
    pub(crate) async fn fetch_vectors(
        &self,
        query: ParsedQuery,
    ) -> Result<Vec<PartVectors>, Problem> {
        let vectors = query.parts.into_iter().map(|part| async move {
            let is_image = matches!(part.input, QueryInput::Image(_));
            let param = part.param.clone();
            let vectors = self.fetch_part(part).await;
            vectors.map_err(|problem| match problem.status().is_client_error() {
                true if problem.param.is_some() => problem,
                true if is_image => problem.about_image(&param),
                true => problem.with_param(&param),
                false => problem,
            })
        });
        stream::iter(vectors)
            .buffered(MAX_CONCURRENT_PARTS)
            .try_collect()
            .await
    }

    async fn fetch_part(&self, part: WeightedPart) -> Result<PartVectors, Problem> {
        let (region, weight) = (part.region, part.weight);
        let of_region = match &region {
            Some(QueryRegion { region, .. }) => format!(" {:?}", region.fractions()),
            None => String::new(),
        };
        match part.input {
            QueryInput::Image(bytes) => {
                let permit = None;
                let (vectors, prepared) = self.embed_picture(bytes, permit, region).await?;
                Ok(PartVectors {
                    vectors,
                    weight,
                    identity: format!("image {}{of_region}", prepared.content_hash),
                    picture: Some(prepared.picture),
                })
            }
            QueryInput::Id(id) => {
                let identity = format!("id {id}{of_region}");
                let (vectors, picture) = self.fetch_indexed(&id, region).await?;
                Ok(PartVectors {
                    vectors,
                    weight,
                    identity,
                    picture: Some(picture),
                })
            }
            QueryInput::Text(text) => Ok(PartVectors {
                identity: format!("text {}", text.as_str()),
                vectors: vec![self.embed_text(text).await?],
                weight,
                picture: None,
            }),
        }
    }

    /// Returns the vector of a row. A region or other orientations need the file.
    async fn fetch_indexed(
        &self,
        id: &str,
        region: Option<QueryRegion>,
    ) -> Result<(Vec<Vec<f32>>, QueryPicture), Problem> {
        let row = self.serving.index.fetch_row(id, self.consistency).await?;
        let row = row.ok_or_else(|| Problem::no_such_image(id))?;
        if region.is_none() && !self.orientations {
            return Ok((vec![row.vector], QueryPicture::from_row(&row.image)));
        }
        let (bytes, permit) = self.read_original(&row.image).await?;
        let is_whole = region.is_none();
        let (mut vectors, prepared) = self.embed_picture(bytes, Some(permit), region).await?;
        if !is_whole {
            return Ok((vectors, prepared.picture));
        }
        // The same vector as without other orientations.
        if let Some(upright) = vectors.first_mut() {
            *upright = row.vector;
        }
        Ok((vectors, QueryPicture::from_row(&row.image)))
    }

    /// Reads the file of a row. The permit to decode it comes first: files that wait for a permit would fill
    /// the memory.
    async fn read_original(
        &self,
        image: &IndexedImage,
    ) -> Result<(Bytes, BlockingPermit), Problem> {
        let located = find_file(self.service, &image.library, &image.path).await?;
        let permit = self.service.search_decodes.acquire().await?;
        let bytes = located.read_bytes(&image.path, &self.service.limits).await;
        match bytes {
            Ok(bytes) => Ok((bytes, permit)),
            // The file was small enough when it was indexed, so it has changed since.
            Err(problem) if problem.code == Code::UploadTooLarge => Err(Problem {
                code: Code::TooMuchMemory,
                ..problem
            }),
            Err(problem) => Err(problem),
        }
    }

    /// Decodes and embeds a picture, or its region. `permit` permits the decoding if it was acquired before.
    async fn embed_picture(
        &self,
        bytes: Bytes,
        permit: Option<BlockingPermit>,
        region: Option<QueryRegion>,
    ) -> Result<(Vec<Vec<f32>>, PreparedPicture), Problem> {
        let description = self.serving.description.clone();
        let (limits, orientations) = (self.service.limits.clone(), self.orientations);
        let prepare = move || prepare_picture(&bytes, &description, &limits, region, orientations);
        let subject = self.serving.request_subject();
        // Without an embedder, decoding would be useless. The check is polled first.
        let checked = self.check_embedder(&subject);
        let decoding = async {
            match permit {
                Some(permit) => permit.run_blocking(prepare).await,
                None => self.service.search_decodes.run_decode(prepare).await,
            }
        };
        let ((), prepared) = try_join(checked, decoding).await?;
        let mut prepared = prepared?;
        let inputs = std::mem::take(&mut prepared.inputs);
        let embedders = self.service.embedders();
        let vectors = inputs.into_iter().map(|input| {
            let reply = embedders.embed_pixels(&subject, input.into_vec());
            self.await_vector(&subject, reply)
        });
        Ok((try_join_all(vectors).await?, prepared))
    }

    async fn embed_text(&self, text: QueryText) -> Result<Vec<f32>, Problem> {
        let embedders = self.service.embedders();
        let subject = self.serving.request_subject();
        self.await_vector(&subject, embedders.embed_text(&subject, text))
            .await
    }

    fn check_connection(&self, subject: &str) -> Result<(), Problem> {
        match self.service.embedders().can_request_vectors(subject) {
            true => Ok(()),
            false => Err(Problem::new(
                Code::QueueUnavailable,
                "NATS is unreachable, so no embedder can be reached",
            )),
        }
    }

    async fn check_embedder(&self, subject: &str) -> Result<(), Problem> {
        self.check_connection(subject)?;
        let model = &self.serving.description.name;
        let checked = self.service.embedders().check_embedder(subject).await;
        checked.map_err(|error| Problem::from_embed(&error, model))
    }

    /// Returns the vector of an embedder's reply if it has the weights that the index was built with.
    async fn await_vector(
        &self,
        subject: &str,
        reply: impl Future<Output = Result<EmbeddedVector, lookalike_bus::Error>>,
    ) -> Result<Vec<f32>, Problem> {
        self.check_connection(subject)?;
        let model = &self.serving.description;
        let started = Instant::now();
        let embedded = reply
            .await
            .map_err(|error| Problem::from_embed(&error, &model.name))?;
        SEARCH_EMBED_SECONDS.observe(started.elapsed().as_secs_f64());
        // A model of the same name can have other weights; their vectors must not be compared.
        if embedded.checksum != model.checksum {
            return Err(Problem::new(
                Code::OtherModel,
                format!(
                    "an embedder serves the weights {} of {}; this service expects {}",
                    embedded.checksum, embedded.model, model.checksum
                ),
            ));
        }
        Ok(embedded.vector)
    }
}

fn prepare_picture(
    bytes: &[u8],
    description: &Description,
    limits: &Limits,
    region: Option<QueryRegion>,
    orientations: bool,
) -> Result<PreparedPicture, Problem> {
    let short_side = description.preprocessing.resize_short_side;
    let content_hash = ContentHash::hash_content(bytes).to_string();
    let (image, picture) = match region {
        None => {
            let (image, attributes) = lookalike_vision::decode_image(bytes, short_side, limits)?;
            let picture = QueryPicture {
                content_hash: content_hash.clone(),
                sketch: Some(attributes.sketch),
            };
            (image, picture)
        }
        Some(region) => {
            let decoded = region.region.decode(bytes, short_side, limits)?;
            let [width, height] = decoded.file_size;
            if width.min(height) < MIN_REGION_SIDE {
                return Err(Problem::invalid_parameter(
                    region.param,
                    format!(
                        "the region is {width} × {height} pixels; it must have at least \
                         {MIN_REGION_SIDE} on each side: choose a larger region"
                    ),
                ));
            }
            // The region is a picture of its own, and no file contains only it.
            let picture = QueryPicture {
                content_hash: String::new(),
                sketch: Some(Sketch::from_image(&decoded.image, width, height)),
            };
            (decoded.image, picture)
        }
    };
    Ok(PreparedPicture {
        inputs: turn_inputs(description, &image, orientations),
        picture,
        content_hash,
    })
}

/// Returns the input of the network for the picture, and for each other orientation that looks different.
fn turn_inputs(description: &Description, image: &DecodedImage, orientations: bool) -> Vec<Input> {
    let count = if orientations {
        PictureTurn::ALL.len()
    } else {
        1
    };
    let mut inputs: Vec<Input> = Vec::with_capacity(count);
    for turn in &PictureTurn::ALL[..count] {
        let input = preprocess_turned(description, image, *turn);
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use lookalike_vision::{BUNDLED_MODEL, PictureRegion, encode_jpeg};

    use super::*;

    fn draw(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) -> Vec<u8> {
        let pixels = (0..width * height).flat_map(|at| [pixel(at % width, at / width); 3]);
        let rgb: Vec<u8> = pixels.collect();
        encode_jpeg(&rgb, width, height, 95)
    }

    fn prepare(
        bytes: &[u8],
        region: Option<[f64; 4]>,
        orientations: bool,
    ) -> Result<PreparedPicture, Problem> {
        let description = Description::find_bundled(BUNDLED_MODEL).unwrap();
        let region = region.map(|[x, y, width, height]| QueryRegion {
            param: "region".to_owned(),
            region: PictureRegion::new(x, y, width, height).unwrap(),
        });
        prepare_picture(
            bytes,
            &description,
            &Limits::default(),
            region,
            orientations,
        )
    }

    #[test]
    fn orientations_that_look_equal_are_searched_once() {
        let slope = draw(160, 120, |x, y| (x + y / 2) as u8);
        let flat = draw(160, 120, |_, _| 90);
        // Mirrored left and right, it looks the same.
        let symmetric = draw(128, 128, |x, y| (x.min(127 - x) * 2 + y / 8) as u8);
        for (bytes, count) in [(&slope, 8), (&flat, 1), (&symmetric, 4)] {
            assert_eq!(prepare(bytes, None, false).unwrap().inputs.len(), 1);
            assert_eq!(prepare(bytes, None, true).unwrap().inputs.len(), count);
        }
    }

    #[test]
    fn a_region_is_a_picture_of_its_own() {
        let halves = draw(200, 100, |x, y| if x < 100 { 20 } else { (y * 2) as u8 });
        let right = draw(100, 100, |_, y| (y * 2) as u8);
        let region = prepare(&halves, Some([0.5, 0.0, 0.5, 1.0]), false).unwrap();
        let expected = prepare(&right, None, false).unwrap();
        let differences = region.inputs[0].iter().zip(&expected.inputs[0]);
        let mean = differences
            .map(|(a, b)| f64::from(a.abs_diff(*b)))
            .sum::<f64>()
            / region.inputs[0].len() as f64;
        assert!(mean < 2.0, "{mean}");
        let (sketch, expected_sketch) = (region.picture.sketch, expected.picture.sketch);
        assert!(sketch.unwrap().is_same_picture(&expected_sketch.unwrap()));
        assert_eq!(region.picture.content_hash, "");
        for small in [
            [0.0, 0.0, 0.075, 1.0],
            [0.9, 0.9, 0.1, 0.1],
            [0.0, 0.0, 1.0, 1e-9],
        ] {
            let problem = prepare(&halves, Some(small), true).err().unwrap();
            assert_eq!(problem.code, Code::InvalidParameter);
            assert_eq!(problem.param.as_deref(), Some("region"));
            assert!(problem.detail.contains("choose a larger region"));
        }
        let broken = prepare(&halves[..300], Some([0.5, 0.0, 0.5, 1.0]), false);
        assert_eq!(broken.err().unwrap().param, None);
    }
}
