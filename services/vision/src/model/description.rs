//! Description of a model: its name, its network, and how it preprocesses images.
//!
//! The description is a JSON file next to the weights. Preprocessing is part of the model, because
//! one index must not contain vectors of differently preprocessed images.

use serde::{Deserialize, Serialize};

use crate::model::{
    bands::Bands,
    towers::{TextTower, VisionTower},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Unique name, such as `lookalike-mini`.
    pub name: String,
    /// Grows with every change of the weights under the same name.
    #[serde(default = "first_version")]
    pub version: u32,
    /// The network of the weights. Without it, the name decides.
    #[serde(default)]
    pub architecture: Option<Architecture>,
    /// Length of a vector.
    pub dimension: usize,
    /// Channels, height and width of the network's input.
    pub input: [u32; 3],
    /// SHA-256 of the weights file, 64 hexadecimal digits.
    #[serde(rename = "sha256", default)]
    pub checksum: String,
    pub preprocessing: Preprocessing,
    /// Sizes of the network if it is an EfficientNet-Lite; without it, those of Lite0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<CompoundScaling>,
    /// Sizes of the network if it is a transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionTower>,
    /// Sizes of the text encoder; `None` for a model that embeds only images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextTower>,
    /// Meaning of scores; `None` if it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
}

fn first_version() -> u32 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// The small residual network of the bundled model.
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
    /// EfficientNet-Lite with the tensor names of the package `efficientnet-lite-pytorch` and the
    /// factors of the description.
    #[serde(rename = "efficientnet-lite")]
    EfficientNetLite,
    /// A vision transformer (ViT, DINOv2) with the tensor names of timm and the sizes of the
    /// description.
    #[serde(rename = "vit")]
    Vit,
    /// CLIP with the tensor names of transformers and the sizes of the description.
    #[serde(rename = "clip")]
    Clip,
    /// SigLIP and SigLIP 2 with a fixed input size, the tensor names of transformers and the sizes of
    /// the description.
    #[serde(rename = "siglip")]
    Siglip,
}

/// Factors by which the larger EfficientNet-Lites differ from Lite0 ("compound scaling", Tan and Le,
/// EfficientNet, 2019).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CompoundScaling {
    /// Factor of the channels, 1.1 for Lite2.
    pub width: f64,
    /// Factor of the number of blocks per stage, 1.2 for Lite2.
    pub depth: f64,
}

impl Default for CompoundScaling {
    fn default() -> Self {
        Self {
            width: 1.0,
            depth: 1.0,
        }
    }
}

impl CompoundScaling {
    /// Scales a number of channels and rounds it to a multiple of 8, as TensorFlow's builder does.
    pub(crate) fn scale_width(self, channels: usize) -> usize {
        let scaled = channels as f64 * self.width;
        let rounded = ((scaled + 4.0) as usize / 8 * 8).max(8);
        // Never rounded down by more than 10 %.
        if (rounded as f64) < 0.9 * scaled {
            rounded + 8
        } else {
            rounded
        }
    }

    /// Scales a number of blocks and rounds it up.
    pub(crate) fn scale_depth(self, blocks: usize) -> usize {
        (blocks as f64 * self.depth).ceil() as usize
    }
}

/// Steps from an upright image to a network's input: resize, crop the middle, normalise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Size of the shorter side after resizing, in pixels.
    pub resize_short_side: u32,
    pub long_side: LongSide,
    pub filter: ResampleFilter,
    /// Width and height of the crop, in pixels.
    pub crop: [u32; 2],
    pub crop_offset: CropOffset,
    /// Subtracted from `value / 255`, per channel.
    pub mean: [f32; 3],
    /// Divides the difference, per channel.
    pub std: [f32; 3],
}

/// Size of the longer side after resizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LongSide {
    /// In proportion, rounded to the nearest, ties to even.
    #[serde(rename = "round(long * resize / short)")]
    Round,
    /// In proportion, rounded down, as in torchvision.
    #[serde(rename = "truncate(long * resize / short)")]
    Truncate,
    /// The same as the shorter side: every image becomes a square.
    #[serde(rename = "resize")]
    Same,
    /// As [`Round`](Self::Round) up to a shape of 3:2. Longer images are cropped less and squeezed more,
    /// and from 3:1 on the whole image is squeezed into the square.
    #[serde(rename = "round(long * resize / short) to 3:2, whole from 3:1")]
    Squeezed,
}

/// Resampling filter, antialiased when it shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResampleFilter {
    /// Cubic convolution with a = −0.5.
    #[serde(rename = "antialiased bicubic (Pillow BICUBIC, a = -0.5)")]
    Bicubic,
    #[serde(rename = "antialiased bilinear (Pillow BILINEAR)")]
    Bilinear,
}

/// Rounding of the crop's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CropOffset {
    #[serde(rename = "floor((side - crop) / 2)")]
    Floor,
    /// To the nearest, ties to even, as in torchvision.
    #[serde(rename = "round((side - crop) / 2)")]
    Round,
}

impl Description {
    pub(super) fn check_values(&self) -> Result<(), String> {
        let preprocessing = &self.preprocessing;
        let [channels, height, width] = self.input;
        if channels != 3 || preprocessing.crop != [width, height] || width != height {
            return Err(format!(
                "the input {:?} must have 3 channels and the size of the square that is cropped, {:?}",
                self.input, preprocessing.crop
            ));
        }
        if !(16..=1024).contains(&width)
            || !(width..=4096).contains(&preprocessing.resize_short_side)
        {
            return Err(format!(
                "the crop ({width}) must have 16 to 1024 pixels, and the resized side ({}) must be at most 4096 and not smaller",
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
        self.check_scaling()?;
        self.check_towers(width)
    }

    /// Checks that only an EfficientNet-Lite has factors, and that they are usable.
    fn check_scaling(&self) -> Result<(), String> {
        let Some(CompoundScaling { width, depth }) = self.scaling else {
            return Ok(());
        };
        if self.architecture()? != Architecture::EfficientNetLite {
            return Err("only \"efficientnet-lite\" has a \"scaling\"".to_owned());
        }
        if !(0.25..=4.0).contains(&width) || !(0.25..=4.0).contains(&depth) {
            return Err(format!(
                "the factors of \"scaling\", {width} and {depth}, must be 0.25 to 4"
            ));
        }
        Ok(())
    }

    /// Checks that transformers, and only they, have sizes.
    fn check_towers(&self, side: u32) -> Result<(), String> {
        let architecture = self.architecture()?;
        let is_transformer = matches!(
            architecture,
            Architecture::Vit | Architecture::Clip | Architecture::Siglip
        );
        if is_transformer != self.vision.is_some() {
            return Err(
                "\"vision\" must be given for transformers only, with the sizes of a transformer"
                    .to_owned(),
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
                    "\"siglip\" must have a \"padding_token\" in its \"text\", other networks must not".to_owned(),
                );
            }
        }
        if let Some(vision) = &self.vision {
            vision.check_for_side(side)?;
        }
        self.text.as_ref().map_or(Ok(()), TextTower::check_sizes)
    }

    /// Returns the network of the weights.
    pub(crate) fn architecture(&self) -> Result<Architecture, String> {
        match (self.architecture, self.name.as_str()) {
            (Some(architecture), _) => Ok(architecture),
            (None, "lookalike-mini") => Ok(Architecture::Mini),
            (None, "resnet34") => Ok(Architecture::ResNet34),
            (None, name) => Err(format!(
                "there is no network {name:?}; set \"architecture\" to a supported one"
            )),
        }
    }

    /// Returns whether the model also embeds texts, into the same space as images.
    pub fn has_text(&self) -> bool {
        self.text.is_some()
    }

    /// Returns the width and height of the input, in pixels.
    pub fn side(&self) -> u32 {
        self.input[2]
    }

    /// Returns the length of an [`Input`](crate::Input).
    pub fn input_bytes(&self) -> usize {
        let side = self.side() as usize;
        side * side * 3
    }

    /// Returns the short side in pixels to pass to [`decode_image`](crate::decode_image).
    pub fn min_short_side(&self) -> u32 {
        self.preprocessing.resize_short_side
    }

    /// Returns everything that determines an image's input, as one line of text. An index may contain
    /// only vectors with the same fingerprint and checksum of the weights.
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
            LongSide::Squeezed => "squeezed",
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
