//! Converts transformers' `config.json` and `preprocessor_config.json` of a model hub to a
//! description.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{
    description::{Architecture, CropOffset, Description, LongSide, Preprocessing, ResampleFilter},
    towers::{Activation, TextTower, TransformerShape, VisionTower},
};

/// transformers' `config.json` of a CLIP model. Missing values have the defaults of transformers.
#[derive(Deserialize)]
struct ClipConfig {
    #[serde(default, rename = "_name_or_path")]
    name: String,
    #[serde(default = "default_dimension")]
    projection_dim: usize,
    #[serde(default)]
    vision_config: TowerConfig,
    #[serde(default)]
    text_config: TowerConfig,
}

fn default_dimension() -> usize {
    512
}

#[derive(Deserialize, Default)]
struct TowerConfig {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    image_size: Option<u32>,
    patch_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    eos_token_id: Option<u32>,
}

impl TowerConfig {
    /// Returns the sizes. `width` and `heads` are the defaults for missing values.
    fn transformer_shape(&self, width: usize, heads: usize) -> Result<TransformerShape, String> {
        let activation = match self.hidden_act.as_deref() {
            None | Some("quick_gelu") => Activation::QuickGelu,
            Some("gelu") => Activation::Gelu,
            Some("gelu_pytorch_tanh") => Activation::GeluTanh,
            Some(activation) => {
                return Err(format!("the activation {activation:?} is not supported"));
            }
        };
        Ok(TransformerShape {
            width: self.hidden_size.unwrap_or(width),
            depth: self.num_hidden_layers.unwrap_or(12),
            heads: self.num_attention_heads.unwrap_or(heads),
            mlp: self.intermediate_size.unwrap_or(4 * width),
            activation,
            norm_epsilon: self.layer_norm_eps.unwrap_or(1e-5),
            layer_scale: false,
        })
    }
}

/// The used part of transformers' `preprocessor_config.json`.
#[derive(Deserialize)]
struct Preprocessor {
    size: Size,
    crop_size: Size,
    #[serde(default = "bicubic_filter")]
    resample: u32,
    #[serde(default = "default_true")]
    do_resize: bool,
    #[serde(default = "default_true")]
    do_center_crop: bool,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

fn bicubic_filter() -> u32 {
    3
}

fn default_true() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Short { shortest_edge: u32 },
    Both { height: u32, width: u32 },
}

/// Older configurations of CLIP state 2 as the end token, but their texts end at the largest token,
/// the last one of the vocabulary.
const LEGACY_END_TOKEN: u32 = 2;

/// Converts the configuration. transformers resizes the short side and crops the middle at an offset
/// that is rounded down.
pub(super) fn parse_config(
    config: Value,
    preprocessor: Option<&str>,
) -> Result<Description, String> {
    let model_type = config.get("model_type").and_then(Value::as_str);
    if model_type != Some("clip") {
        return Err(format!(
            "the model type {:?} is not supported; use \"clip\"",
            model_type.unwrap_or_default()
        ));
    }
    let config: ClipConfig = serde_json::from_value(config).map_err(|reason| reason.to_string())?;
    let preprocessor = preprocessor
        .ok_or("preprocessor_config.json is missing: put it next to this file, it states the preprocessing")?;
    let preprocessor: Preprocessor = serde_json::from_str(preprocessor)
        .map_err(|reason| format!("preprocessor_config.json: {reason}"))?;
    let (vision, text) = (&config.vision_config, &config.text_config);
    let side = vision.image_size.unwrap_or(224);
    let vocabulary = text.vocab_size.unwrap_or(49_408);
    let last_token = u32::try_from(vocabulary)
        .unwrap_or(u32::MAX)
        .saturating_sub(1);
    let name = config.name.rsplit('/').next().unwrap_or_default();
    Ok(Description {
        name: if name.is_empty() { "clip" } else { name }.to_owned(),
        version: 1,
        architecture: Some(Architecture::Clip),
        dimension: config.projection_dim,
        input: [3, side, side],
        checksum: String::new(),
        preprocessing: preprocessor.to_preprocessing(side)?,
        scaling: None,
        vision: Some(VisionTower {
            patch: vision.patch_size.unwrap_or(32),
            registers: 0,
            shape: vision.transformer_shape(768, 12)?,
        }),
        text: Some(TextTower {
            vocabulary,
            positions: text.max_position_embeddings.unwrap_or(77),
            end_token: match text.eos_token_id {
                None | Some(LEGACY_END_TOKEN) => last_token,
                Some(token) => token,
            },
            padding_token: None,
            lower_case: false,
            shape: text.transformer_shape(512, 8)?,
        }),
        bands: None,
    })
}

impl Preprocessor {
    fn to_preprocessing(&self, side: u32) -> Result<Preprocessing, String> {
        let filter = match self.resample {
            3 => ResampleFilter::Bicubic,
            2 => ResampleFilter::Bilinear,
            resample => return Err(format!("the resampling {resample} is not supported")),
        };
        let (Size::Side(short)
        | Size::Short {
            shortest_edge: short,
        }) = self.size
        else {
            return Err("the size must be the shortest edge".to_owned());
        };
        let crop = match self.crop_size {
            Size::Side(side) => [side, side],
            Size::Both { height, width } => [width, height],
            Size::Short { .. } => return Err("the crop size must be a height and width".to_owned()),
        };
        if !self.do_resize || !self.do_center_crop || crop != [side, side] {
            return Err(format!(
                "images must be resized and cropped to the network's {side} pixels"
            ));
        }
        Ok(Preprocessing {
            resize_short_side: short,
            long_side: LongSide::Truncate,
            filter,
            crop,
            crop_offset: CropOffset::Floor,
            mean: self.image_mean,
            std: self.image_std,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The used part of the files of `openai/clip-vit-base-patch32`.
    const CLIP: &str = r#"{"_name_or_path": "openai/clip-vit-base-patch32", "model_type": "clip",
        "projection_dim": 512,
        "text_config": {"bos_token_id": 0, "eos_token_id": 2, "hidden_act": "quick_gelu"},
        "vision_config": {"hidden_size": 768, "hidden_act": "quick_gelu", "patch_size": 32}}"#;
    const PREPROCESSOR: &str = r#"{"crop_size": 224, "do_center_crop": true, "do_resize": true,
        "resample": 3, "size": 224, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711]}"#;

    #[test]
    fn transformers_gives_the_same_description_as_ours() {
        let mut hub = Description::from_hub_json(CLIP, Some(PREPROCESSOR), "config.json").unwrap();
        assert_eq!(hub.name, "clip-vit-base-patch32");
        hub.name = "clip-b32".to_owned();
        assert_eq!(hub, Description::find_bundled("clip-b32").unwrap());
    }

    #[test]
    fn other_models_of_transformers_are_rejected() {
        let error = |config: &str, preprocessor: &str| {
            Description::from_hub_json(config, Some(preprocessor), "config.json")
                .unwrap_err()
                .to_string()
        };
        let other = CLIP.replace("\"clip\"", "\"blip\"");
        assert!(error(&other, PREPROCESSOR).contains("\"blip\""));
        let other = CLIP.replace("quick_gelu", "silu");
        assert!(error(&other, PREPROCESSOR).contains("\"silu\""));
        let square = PREPROCESSOR.replace(
            "\"size\": 224",
            "\"size\": {\"height\": 224, \"width\": 224}",
        );
        assert!(error(CLIP, &square).contains("shortest edge"));
        let smaller = PREPROCESSOR.replace("\"crop_size\": 224", "\"crop_size\": 200");
        assert!(error(CLIP, &smaller).contains("224 pixels"));
        assert!(error(CLIP, "{").contains("preprocessor_config.json"));
    }
}
