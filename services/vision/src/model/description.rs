//! What a model is: its name, its network, and how a picture must be prepared for it.
//!
//! The description is a JSON file beside the weights; preprocessing belongs to the model and
//! nowhere else, because vectors of differently prepared pictures must never meet in one index.
//! A folder as it comes from a model hub (timm's `config.json`, or transformers' with its
//! `preprocessor_config.json`) is understood as well.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::bands::Bands;

use crate::model::{
    timm,
    towers::{TextTower, VisionTower},
    transformers,
};

/// A model's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Unique name, as `lookalike-mini`.
    pub name: String,
    /// Grows with every change of the weights under the same name.
    #[serde(default = "one")]
    pub version: u32,
    /// Which network reads the weights; the name where it is not given.
    #[serde(default)]
    pub architecture: Option<Architecture>,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Channels, height and width of the network's input.
    pub input: [u32; 3],
    /// SHA-256 of the weights' file, 64 hex digits.
    #[serde(rename = "sha256", default)]
    pub checksum: String,
    /// From an upright picture to the input.
    pub preprocessing: Preprocessing,
    /// The sizes of the network, where that is a transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionTower>,
    /// The sizes of the network that reads words; none where a model only knows pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextTower>,
    /// What a cosine means; none where nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
}

fn one() -> u32 {
    1
}

/// The networks that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// The small residual network that comes with lookalike.
    #[serde(rename = "lookalike-mini")]
    Mini,
    /// ResNet-34 with the tensor names of timm and torchvision.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// ResNet-50 with the tensor names of timm and torchvision.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// MobileNetV2 with the tensor names of timm.
    #[serde(rename = "mobilenetv2")]
    MobileNetV2,
    /// A vision transformer with the tensor names of timm, of the sizes that the description
    /// gives: ViT, DINOv2.
    #[serde(rename = "vit")]
    Vit,
    /// CLIP with the tensor names of transformers, of the sizes that the description gives.
    #[serde(rename = "clip")]
    Clip,
    /// SigLIP and SigLIP 2 of a fixed input with the tensor names of transformers, of the sizes that
    /// the description gives.
    #[serde(rename = "siglip")]
    Siglip,
}

/// From an upright picture to a network's input: resize, crop the middle, normalise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// The shorter side becomes this, in pixels.
    pub resize_short_side: u32,
    /// What the longer side becomes.
    pub long_side: LongSide,
    /// How pixels are resampled.
    pub filter: ResampleFilter,
    /// Width and height of the middle that is cut out, in pixels.
    pub crop: [u32; 2],
    /// How the offset of the middle is rounded.
    pub crop_offset: CropOffset,
    /// Subtracted from `value / 255`, per channel.
    pub mean: [f32; 3],
    /// Divides what is left, per channel.
    pub std: [f32; 3],
}

/// What the longer side becomes, and how it is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LongSide {
    /// To the nearest, ties to even.
    #[serde(rename = "round(long * resize / short)")]
    Round,
    /// Down, as torchvision does.
    #[serde(rename = "truncate(long * resize / short)")]
    Truncate,
    /// The same as the shorter: the picture becomes a square, whatever its shape.
    #[serde(rename = "resize")]
    Same,
}

/// Resampling filter; all antialias when they shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResampleFilter {
    /// Cubic convolution with a = −0.5.
    #[serde(rename = "antialiased bicubic (Pillow BICUBIC, a = -0.5)")]
    Bicubic,
    /// A triangle.
    #[serde(rename = "antialiased bilinear (Pillow BILINEAR)")]
    Bilinear,
}

/// Rounding of the offset of the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CropOffset {
    /// Down.
    #[serde(rename = "floor((side - crop) / 2)")]
    Floor,
    /// To the nearest, ties to even, as torchvision does.
    #[serde(rename = "round((side - crop) / 2)")]
    Round,
}

impl Description {
    /// The description of a model that is known by name, or `None`. Its weights need not be here.
    pub fn find_bundled(name: &str) -> Option<Self> {
        let json = match name {
            "lookalike-mini" => include_str!("../../models/lookalike-mini/lookalike-mini.json"),
            "resnet34" => include_str!("../../models/resnet34/resnet34.json"),
            "resnet50" => include_str!("../../models/resnet50/resnet50.json"),
            "mobilenetv2" => include_str!("../../models/mobilenetv2/mobilenetv2.json"),
            "vit-s16" => include_str!("../../models/vit-s16/vit-s16.json"),
            "dinov2-s14" => include_str!("../../models/dinov2-s14/dinov2-s14.json"),
            "dinov2-s14-reg" => include_str!("../../models/dinov2-s14-reg/dinov2-s14-reg.json"),
            "clip-b32" => include_str!("../../models/clip-b32/clip-b32.json"),
            "siglip2-b16" => include_str!("../../models/siglip2-b16/siglip2-b16.json"),
            _ => return None,
        };
        Some(Self::from_json(json, name).expect("a test parses every bundled description"))
    }

    /// Reads a description: ours, or the `config.json` of a timm model. `origin` names it in
    /// errors.
    ///
    /// # Errors
    /// [`Error::Description`] when it is neither, or asks for something that is not known here.
    pub fn from_json(json: &str, origin: &str) -> Result<Self, Error> {
        Self::from_hub_json(json, None, origin)
    }

    /// As [`from_json`](Self::parse), and reads the `config.json` of a transformers model as well, to
    /// which its `preprocessor_config.json` belongs.
    ///
    /// # Errors
    /// [`Error::Description`] when it is none of them, or asks for something that is not known
    /// here.
    pub fn from_hub_json(
        json: &str,
        preprocessor: Option<&str>,
        origin: &str,
    ) -> Result<Self, Error> {
        let error = |problem: String| Error::Description {
            origin: origin.to_owned(),
            problem,
        };
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|reason| error(reason.to_string()))?;
        let description = if value.get("pretrained_cfg").is_some() {
            timm::parse_config(value).map_err(error)?
        } else if value.get("model_type").is_some() {
            transformers::parse_config(value, preprocessor).map_err(error)?
        } else {
            serde_json::from_value(value).map_err(|reason| error(reason.to_string()))?
        };
        description.check_values().map_err(error)?;
        Ok(description)
    }

    fn check_values(&self) -> Result<(), String> {
        let preprocessing = &self.preprocessing;
        let [channels, height, width] = self.input;
        if channels != 3 || preprocessing.crop != [width, height] || width != height {
            return Err(format!(
                "the input {:?} must be 3 channels and the square that is cropped, {:?}",
                self.input, preprocessing.crop
            ));
        }
        if !(16..=1024).contains(&width)
            || !(width..=4096).contains(&preprocessing.resize_short_side)
        {
            return Err(format!(
                "the crop ({width}) must be 16 to 1024 pixels, and the resized side ({}) not smaller",
                preprocessing.resize_short_side
            ));
        }
        if !(1..=32_768).contains(&self.dimension) {
            return Err(format!("the dimension {} is out of range", self.dimension));
        }
        if let Some(bands) = &self.bands {
            bands.check_order()?;
        }
        let usable = |value: &f32| value.is_finite() && *value > 0.0;
        if !preprocessing.std.iter().all(usable)
            || !preprocessing.mean.iter().all(|mean| mean.is_finite())
        {
            return Err("mean and std must be finite, and std above 0".to_owned());
        }
        if self.name.is_empty() || self.name.len() > 64 {
            return Err("the name must have 1 to 64 characters".to_owned());
        }
        self.check_towers(width)
    }

    /// Sizes are given for transformers, and for nothing else.
    fn check_towers(&self, side: u32) -> Result<(), String> {
        let architecture = self.architecture()?;
        let is_transformer = matches!(
            architecture,
            Architecture::Vit | Architecture::Clip | Architecture::Siglip
        );
        if is_transformer != self.vision.is_some() {
            return Err(
                "\"vision\" must give the sizes of a transformer, and only of one".to_owned(),
            );
        }
        if let Some(text) = &self.text {
            let needs_padding = match architecture {
                Architecture::Clip => false,
                Architecture::Siglip => true,
                _ => return Err("only \"clip\" and \"siglip\" have a \"text\"".to_owned()),
            };
            if text.padding_token.is_some() != needs_padding {
                return Err(
                    "the text of \"siglip\" must have a \"padding_token\", no other one".to_owned(),
                );
            }
        }
        if let Some(vision) = &self.vision {
            vision.check_for_side(side)?;
        }
        self.text.as_ref().map_or(Ok(()), TextTower::check_sizes)
    }

    /// The network that reads the weights.
    pub(crate) fn architecture(&self) -> Result<Architecture, String> {
        match (self.architecture, self.name.as_str()) {
            (Some(architecture), _) => Ok(architecture),
            (None, "lookalike-mini") => Ok(Architecture::Mini),
            (None, "resnet34") => Ok(Architecture::ResNet34),
            (None, name) => Err(format!(
                "there is no network {name:?}; name one as \"architecture\""
            )),
        }
    }

    /// Whether the model embeds words as well, into the same space as pictures.
    pub fn has_text(&self) -> bool {
        self.text.is_some()
    }

    /// Width and height of the input, in pixels.
    pub fn side(&self) -> u32 {
        self.input[2]
    }

    /// Bytes of an [`Input`](crate::Input).
    pub fn input_bytes(&self) -> usize {
        let side = self.side() as usize;
        side * side * 3
    }

    /// The smallest short side with which [`decode`](crate::decode) should be asked, in pixels.
    pub fn min_short_side(&self) -> u32 {
        self.preprocessing.resize_short_side
    }

    /// Everything that decides what a picture's input looks like, as one line of text. Vectors
    /// may meet in one index only when this and the weights' checksum are the same.
    pub fn fingerprint(&self) -> String {
        let preprocessing = &self.preprocessing;
        let filter = match preprocessing.filter {
            ResampleFilter::Bicubic => "bicubic",
            ResampleFilter::Bilinear => "bilinear",
        };
        let long_side = match preprocessing.long_side {
            LongSide::Round => "round",
            LongSide::Truncate => "truncate",
            LongSide::Same => "same",
        };
        let offset = match preprocessing.crop_offset {
            CropOffset::Floor => "floor",
            CropOffset::Round => "round",
        };
        format!(
            "rgb8 short={} long={long_side} filter={filter} crop={}x{} offset={offset} mean={:?} std={:?}",
            preprocessing.resize_short_side,
            preprocessing.crop[0],
            preprocessing.crop[1],
            preprocessing.mean,
            preprocessing.std
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_descriptions_are_sound() {
        let mini = Description::find_bundled("lookalike-mini").unwrap();
        assert_eq!(
            (mini.dimension, mini.side(), mini.min_short_side()),
            (384, 128, 146)
        );
        let resnet = Description::find_bundled("resnet34").unwrap();
        assert_eq!(
            (resnet.dimension, resnet.side(), resnet.min_short_side()),
            (512, 224, 235)
        );
        assert_ne!(mini.fingerprint(), resnet.fingerprint());
        assert!(Description::find_bundled("no such").is_none());
    }

    #[test]
    fn every_bundled_description_is_found_by_its_name() {
        for (name, dimension, has_text) in [
            ("resnet50", 2048, false),
            ("mobilenetv2", 1280, false),
            ("vit-s16", 384, false),
            ("dinov2-s14", 384, false),
            ("dinov2-s14-reg", 384, false),
            ("clip-b32", 512, true),
            ("siglip2-b16", 768, true),
        ] {
            let description = Description::find_bundled(name).unwrap();
            assert_eq!(description.name, name);
            assert_eq!(
                (description.dimension, description.has_text()),
                (dimension, has_text),
                "{name}"
            );
            // What is written is read again.
            let json = serde_json::to_string(&description).unwrap();
            assert_eq!(Description::from_json(&json, name).unwrap(), description);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            let json = include_str!("../../models/resnet34/resnet34.json").replacen(from, to, 1);
            let error = Description::from_json(&json, "x.json")
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("antialiased bicubic", "nearest", "unknown variant");
        check("[224, 224]", "[224, 200]", "square that is cropped");
        check("235", "200", "not smaller");
        check(
            "\"architecture\": \"resnet34\"",
            "\"architecture\": \"vgg\"",
            "unknown variant",
        );
        check("0.229", "0.0", "std above 0");
        check(
            "\"architecture\": \"resnet34\"",
            "\"architecture\": \"vit\"",
            "sizes of a transformer",
        );
        let check = |from: &str, to: &str, expected: &str| {
            let json = include_str!("../../models/clip-b32/clip-b32.json");
            assert!(json.contains(from), "{from}");
            let json = json.replacen(from, to, 1);
            let error = Description::from_json(&json, "x.json")
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("\"clip\"", "\"vit\"", "only \"clip\" and");
        check("\"clip\"", "\"siglip\"", "must have a \"padding_token\"");
        check("\"clip\"", "\"resnet50\"", "sizes of a transformer");
        check("\"patch\": 32", "\"patch\": 33", "cut into patches");
        check("\"patch\": 32", "\"patch\": 0", "must be 1 to");
        check("\"heads\": 12", "\"heads\": 11", "cut into 11 heads");
        check("\"depth\": 12", "\"depth\": 1000", "must be 1 to 64");
        check("1e-5", "0.0", "norm_epsilon");
        check("quick_gelu", "swish", "unknown variant");
        check("49407", "49408", "end token");
        check("\"positions\": 77", "\"positions\": 1", "two positions");
        assert!(Description::from_json("not json", "x.json").is_err());
    }
}
