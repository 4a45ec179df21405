//! Converts timm's `config.json` of a model hub to a description.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{
    description::{Architecture, CropOffset, Description, LongSide, Preprocessing, ResampleFilter},
    towers::{Activation, TransformerShape, VisionTower},
};

/// The used part of timm's `config.json`.
#[derive(Deserialize)]
struct TimmConfig {
    architecture: String,
    #[serde(default)]
    global_pool: Option<String>,
    pretrained_cfg: TimmPretrained,
}

#[derive(Deserialize)]
struct TimmPretrained {
    #[serde(default)]
    tag: Option<String>,
    input_size: [u32; 3],
    #[serde(default)]
    interpolation: Option<String>,
    #[serde(default)]
    crop_pct: Option<f64>,
    #[serde(default)]
    crop_mode: Option<String>,
    mean: [f32; 3],
    std: [f32; 3],
}

/// Properties of a timm architecture that follow from its name.
struct TimmNetwork {
    architecture: Architecture,
    dimension: usize,
    vision: Option<VisionTower>,
    /// Side of the input in pixels, if it differs from the pretrained one.
    side: Option<u32>,
}

/// DINOv2 was trained on squares of 518 pixels (1369 patches), which is too slow for every image of
/// an index. At 224 pixels the vectors are nearly as good.
const DINOV2_SIDE: u32 = 224;

/// Converts timm's configuration. timm preprocesses with torchvision: it resizes to
/// `input / crop_pct`, rounded down, and crops the middle.
pub(super) fn parse_config(config: Value) -> Result<Description, String> {
    let TimmConfig {
        architecture: name,
        global_pool,
        pretrained_cfg: pretrained,
    } = serde_json::from_value(config).map_err(|reason| reason.to_string())?;
    let network = find_network(&name).ok_or_else(|| {
        format!(
            "the network {name:?} is not supported; supported are resnet34, resnet50, \
             mobilenetv2_100, vit_small_patch16_224, vit_small_patch14_dinov2 and \
             vit_small_patch14_reg4_dinov2"
        )
    })?;
    if network.vision.is_some() && global_pool.is_some_and(|pool| pool != "token") {
        return Err("only transformers with the pooling \"token\" are supported".to_owned());
    }
    if pretrained.crop_mode.as_deref().unwrap_or("center") != "center" {
        return Err("only the crop mode \"center\" is supported".to_owned());
    }
    let filter = match pretrained.interpolation.as_deref().unwrap_or("bicubic") {
        "bicubic" => ResampleFilter::Bicubic,
        "bilinear" => ResampleFilter::Bilinear,
        interpolation => {
            return Err(format!(
                "the interpolation {interpolation:?} is not supported"
            ));
        }
    };
    let [channels, _, pretrained_side] = pretrained.input_size;
    let side = network.side.unwrap_or(pretrained_side);
    let crop_share = pretrained.crop_pct.unwrap_or(0.875);
    if !(0.1..=1.0).contains(&crop_share) {
        return Err(format!("crop_pct {crop_share} is out of range"));
    }
    Ok(Description {
        name: match pretrained.tag.as_deref() {
            None | Some("") => name,
            Some(tag) => format!("{name}.{tag}"),
        },
        version: 1,
        architecture: Some(network.architecture),
        dimension: network.dimension,
        input: [channels, side, side],
        checksum: String::new(),
        preprocessing: Preprocessing {
            resize_short_side: (f64::from(side) / crop_share).floor() as u32,
            long_side: LongSide::Truncate,
            filter,
            crop: [side, side],
            crop_offset: CropOffset::Round,
            mean: pretrained.mean,
            std: pretrained.std,
        },
        scaling: None,
        vision: network.vision,
        text: None,
        bands: None,
    })
}

fn find_network(name: &str) -> Option<TimmNetwork> {
    let convolutional = |architecture, dimension| TimmNetwork {
        architecture,
        dimension,
        vision: None,
        side: None,
    };
    match name {
        "resnet34" => Some(convolutional(Architecture::ResNet34, 512)),
        "resnet50" => Some(convolutional(Architecture::ResNet50, 2048)),
        "mobilenetv2_100" => Some(convolutional(Architecture::MobileNetV2, 1280)),
        _ => find_vit(name),
    }
}

/// Parses names such as `vit_small_patch16_224`.
fn find_vit(name: &str) -> Option<TimmNetwork> {
    let mut parts = name.strip_prefix("vit_")?.split('_');
    let (width, heads) = match parts.next()? {
        "tiny" => (192, 3),
        "small" => (384, 6),
        "base" => (768, 12),
        _ => return None,
    };
    let patch = parts.next()?.strip_prefix("patch")?.parse().ok()?;
    let rest: Vec<&str> = parts.collect();
    let (registers, is_dinov2) = match rest.as_slice() {
        ["224"] => (0, false),
        ["dinov2"] => (0, true),
        ["reg4", "dinov2"] => (4, true),
        _ => return None,
    };
    let blocks = TransformerShape {
        width,
        depth: 12,
        heads,
        mlp: 4 * width,
        activation: Activation::Gelu,
        norm_epsilon: 1e-6,
        layer_scale: is_dinov2,
    };
    Some(TimmNetwork {
        architecture: Architecture::Vit,
        dimension: width,
        vision: Some(VisionTower {
            patch,
            registers,
            shape: blocks,
        }),
        side: is_dinov2.then_some(DINOV2_SIDE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGENET: &str = r#""mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]"#;
    const HALF: &str = r#""mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]"#;

    fn parse_timm(architecture: &str, pretrained: &str) -> Result<Description, String> {
        let json = format!(
            r#"{{"architecture": "{architecture}", "num_classes": 1000, "global_pool": "token",
            "pretrained_cfg": {{"interpolation": "bicubic", "crop_mode": "center", {pretrained}}}}}"#
        );
        Description::from_json(&json, "config.json").map_err(|error| error.to_string())
    }

    #[test]
    fn timm_gives_the_same_descriptions_as_ours() {
        for (ours, architecture, tag, side, crop_share, levels) in [
            ("resnet34", "resnet34", "a1_in1k", 224, 0.95, IMAGENET),
            ("resnet50", "resnet50", "a1_in1k", 224, 0.95, IMAGENET),
            ("mobilenetv2", "mobilenetv2_100", "ra", 224, 0.875, IMAGENET),
            ("vit-s16", "vit_small_patch16_224", "augreg", 224, 0.9, HALF),
            (
                "dinov2-s14",
                "vit_small_patch14_dinov2",
                "lvd",
                518,
                1.0,
                IMAGENET,
            ),
            (
                "dinov2-s14-reg",
                "vit_small_patch14_reg4_dinov2",
                "lvd",
                518,
                1.0,
                IMAGENET,
            ),
        ] {
            let pretrained = format!(
                r#""tag": "{tag}", "input_size": [3, {side}, {side}], "crop_pct": {crop_share}, {levels}"#
            );
            let mut hub = parse_timm(architecture, &pretrained).unwrap();
            assert_eq!(hub.name, format!("{architecture}.{tag}"));
            hub.name = ours.to_owned();
            assert_eq!(hub, Description::find_bundled(ours).unwrap());
        }
    }

    #[test]
    fn other_networks_of_timm_are_rejected() {
        let pretrained = format!(r#""input_size": [3, 224, 224], {IMAGENET}"#);
        for architecture in [
            "vgg11",
            "vit_small_patch16_384",
            "vit_huge_patch14_dinov2",
            "vit_small_patchx_224",
            "vit_small",
        ] {
            let error = parse_timm(architecture, &pretrained).unwrap_err();
            assert!(error.contains("vit_small_patch14_reg4_dinov2"), "{error}");
        }
        let error = parse_timm("resnet50", &format!(r#"{pretrained}, "crop_pct": 2"#)).unwrap_err();
        assert!(error.contains("crop_pct"), "{error}");
    }
}
