//! `lookalike-loadtest quality`: a complete measurement over two folders of the sample pictures.

use std::fs;
use std::path::{Path, PathBuf};

use lookalike_loadtest::quality::altered::Alteration;
use lookalike_loadtest::quality::{QualityArguments, measure_quality};

#[test]
fn quality_measures_neighbours_copies_and_scores_through_the_whole_product() {
    let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let photos = tempfile::tempdir_in(&base).unwrap();
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let mut files = 0;
    // Nested folders belong to the class above them.
    for (class, from) in [("views", "landscapes"), ("things/all", "objects")] {
        let class = photos.path().join(class);
        fs::create_dir_all(&class).unwrap();
        for picture in fs::read_dir(images.join(from)).unwrap() {
            let picture = picture.unwrap();
            fs::copy(picture.path(), class.join(picture.file_name())).unwrap();
            files += 1;
        }
    }
    fs::write(photos.path().join("views/broken.jpg"), "no picture").unwrap();
    let html = photos.path().with_extension("html");
    let report = measure_quality(&QualityArguments {
        photos: photos.path().to_owned(),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_lookalike-system-tests"))),
        robustness: 6,
        sparse: 5,
        html: Some(html.clone()),
        dir: Some(base),
        ..QualityArguments::default()
    })
    .unwrap();
    let page = fs::read_to_string(&html).unwrap();
    fs::remove_file(&html).unwrap();
    eprintln!("{}", report.to_text());

    assert_eq!((report.photos, report.unreadable), (files, 1));
    assert_eq!(report.classes.len(), 2);
    // Half of all pictures are of the same class; scenes of one kind are neighbours.
    assert!(
        (0.6..1.0).contains(&report.precision),
        "{}",
        report.precision
    );
    assert!(report.average_precision > 0.6);
    let first_ranks: Vec<f64> = report.robustness.iter().map(|row| row.first).collect();
    assert_eq!(first_ranks.len(), Alteration::ALL.len());
    for row in &report.robustness {
        let band_share = |key: &str| {
            let count = row.bands.iter().find(|(band, _)| band == key);
            count.map_or(0.0, |(_, count)| *count as f64 / row.photos as f64)
        };
        match row.change {
            Alteration::QuarterTurn | Alteration::HalfTurn | Alteration::ThreeQuarterTurn => {
                assert!(row.near > 0.4, "{row:?}");
                assert!(band_share("turned_copy") >= row.near - 0.01, "{row:?}");
            }
            Alteration::Screenshot => {}
            Alteration::Quality30 | Alteration::HalfSize => {
                assert!(
                    row.first > 0.8 && band_share("same_picture") > 0.4,
                    "{row:?}"
                );
            }
            _ => assert!(
                row.first > 0.8 && band_share("same_picture") < 0.2,
                "{row:?}"
            ),
        }
    }
    // No two painted pictures are the same.
    assert!(report.sparse.len() >= 5, "{:?}", report.sparse);
    for row in &report.sparse {
        assert!(row.pairs > 0 && row.same == 0 && row.turned == 0, "{row:?}");
    }
    let json = report.to_json();
    let scores = json["calibration"]["scores"].as_array().unwrap();
    let count = |key: &str| -> u64 { scores.iter().filter_map(|row| row[key].as_u64()).sum() };
    assert_eq!(count("hits"), 10 * files as u64, "ten neighbours of each");
    let right = count("right") as f64 / count("hits") as f64;
    assert!((right - report.precision).abs() < 1e-9, "{right}");
    let bands = json["calibration"]["bands"].as_array().unwrap();
    let named = |key: &str| bands.iter().any(|row| row["band"].as_str() == Some(key));
    assert!(named("similar") || named("very_similar"), "{bands:?}");
    assert!(page.contains("class=\"plot\"") && page.contains("class=\"right\""));
}
