//! Parses descriptions of models: our own JSON, and the configuration files of a model hub (timm's
//! `config.json`, or transformers' `config.json` with its `preprocessor_config.json`).
//!
//! All functions fail with [`Error::Description`] if a description has none of these forms or
//! requires something unsupported.

use crate::error::Error;
use crate::model::{description::Description, timm, transformers};

impl Description {
    /// Returns the description of a registered model, or `None`. Its weights need not be on this
    /// machine.
    pub fn find_bundled(name: &str) -> Option<Self> {
        let json = match name {
            "lookalike-mini" => include_str!("../../models/lookalike-mini/lookalike-mini.json"),
            "efficientnet-lite0" => {
                include_str!("../../models/efficientnet-lite0/efficientnet-lite0.json")
            }
            "efficientnet-lite2" => {
                include_str!("../../models/efficientnet-lite2/efficientnet-lite2.json")
            }
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

    /// Parses a description: ours, or the `config.json` of a timm model. `origin` names it in errors.
    pub fn from_json(json: &str, origin: &str) -> Result<Self, Error> {
        Self::from_hub_json(json, None, origin)
    }

    /// Does the same as [`from_json`](Self::from_json) and also parses the `config.json` of a
    /// transformers model, which needs its `preprocessor_config.json`.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANDS: &str =
        r#"{"same": 0.98, "near_duplicate": 0.9, "very_similar": 0.8, "similar": 0.7}"#;

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
            ("efficientnet-lite0", 384, false),
            ("efficientnet-lite2", 384, false),
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
            // A serialised description is parsed again.
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

    #[test]
    fn a_description_may_have_bands_and_wrong_ones_are_refused() {
        let json = include_str!("../../models/resnet34/resnet34.json");
        let without: serde_json::Value = serde_json::from_str(json).unwrap();
        let parse = |bands: &str| {
            let mut description = without.clone();
            description["bands"] = serde_json::from_str(bands).unwrap();
            Description::from_json(&description.to_string(), "x.json")
                .map_err(|error| error.to_string())
        };
        let with = parse(BANDS).unwrap();
        assert_eq!(with.bands.unwrap().similar, 0.7);
        assert_eq!(parse("null").unwrap().bands, None);
        // Bands do not affect vectors.
        let without = Description::from_json(json, "x.json").unwrap();
        assert_eq!(with.fingerprint(), without.fingerprint());
        for wrong in [
            BANDS.replace("0.9,", "0.99,"),
            BANDS.replace("0.98", "1.5"),
            BANDS.replace("0.7}", "0.8}"),
        ] {
            assert!(parse(&wrong).unwrap_err().contains("below the one before"));
        }
        assert!(parse(&BANDS.replace("same", "sane")).is_err());
        assert!(parse(r#"{"same": 0.9}"#).is_err());
    }
}
