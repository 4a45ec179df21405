//! Attributes of an image file: size, format, time, camera, colours.
//!
//! EXIF blocks are written by thousands of programs and often broken. Fields that cannot be read are
//! left out; they never make a decode fail.

use exif::{DateTime, In, Tag, Value};

/// Attributes that are indexed together with the vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedAttributes {
    /// In pixels, of the upright image at full size.
    pub width: u32,
    /// In pixels, of the upright image at full size.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`, `hdr`, `tga` or `heic`; of a
    /// camera raw file, the extension of its format, such as `nef`.
    pub format: &'static str,
    /// Time when the photo was taken, in seconds since 1970. Times without a zone count as UTC.
    pub taken_at: Option<i64>,
    /// Maker and model.
    pub camera: Option<String>,
    /// Up to three basic colour terms that cover at least 15 % of the image, largest share first.
    pub colors: Vec<String>,
}

/// The attributes that come from EXIF.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ExifAttributes {
    pub taken_at: Option<i64>,
    pub camera: Option<String>,
}

/// Reads an EXIF block that starts with its TIFF header.
pub(crate) fn read_exif(block: &[u8]) -> ExifAttributes {
    let exif = exif::Reader::new()
        .continue_on_error(true)
        .read_raw(block.to_vec())
        .or_else(|error| error.distill_partial_result(|_| {}));
    let Ok(exif) = exif else {
        return ExifAttributes::default();
    };
    let ascii = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(lines) => lines.first().map(Vec::as_slice),
        _ => None,
    };
    let taken_at = [
        (Tag::DateTimeOriginal, Tag::OffsetTimeOriginal),
        (Tag::DateTimeDigitized, Tag::OffsetTimeDigitized),
        (Tag::DateTime, Tag::OffsetTime),
    ]
    .into_iter()
    .find_map(|(time, offset)| {
        let mut time = DateTime::from_ascii(ascii(time)?).ok()?;
        if let Some(offset) = ascii(offset) {
            // With a broken offset, the time counts as UTC.
            let _ = time.parse_offset(offset);
        }
        unix_seconds(&time)
    });
    ExifAttributes {
        taken_at,
        camera: join_camera_name(
            &ascii(Tag::Make).map(clean_text).unwrap_or_default(),
            &ascii(Tag::Model).map(clean_text).unwrap_or_default(),
        ),
    }
}

/// Returns the printable text of at most 64 characters.
fn clean_text(raw: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(raw)
        .chars()
        .filter(|letter| !letter.is_control() && *letter != char::REPLACEMENT_CHARACTER)
        .take(64)
        .collect();
    text.trim().to_owned()
}

/// Joins maker and model; a model that repeats the maker stands alone: `"Canon", "Canon EOS R5"` →
/// `Canon EOS R5`.
fn join_camera_name(make: &str, model: &str) -> Option<String> {
    let maker = make.split_whitespace().next().unwrap_or_default();
    let repeats = !maker.is_empty() && model.to_lowercase().starts_with(&maker.to_lowercase());
    let camera = if repeats {
        model.to_owned()
    } else {
        format!("{make} {model}").trim().to_owned()
    };
    (!camera.is_empty()).then_some(camera)
}

/// Returns seconds since 1970, or `None` for an impossible date (cameras write zeros when unset).
fn unix_seconds(time: &DateTime) -> Option<i64> {
    let (year, month, day) = (
        i64::from(time.year),
        i64::from(time.month),
        i64::from(time.day),
    );
    let is_plausible = (1826..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && time.hour < 24
        && time.minute < 60
        && time.second <= 60;
    if !is_plausible {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    let seconds = days * 86_400
        + i64::from(time.hour) * 3_600
        + i64::from(time.minute) * 60
        + i64::from(time.second);
    Some(seconds - i64::from(time.offset.unwrap_or(0)) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(text: &str, offset: Option<&str>, expected: Option<i64>) {
        let mut time = DateTime::from_ascii(text.as_bytes()).unwrap();
        if let Some(offset) = offset {
            time.parse_offset(offset.as_bytes()).unwrap();
        }
        assert_eq!(unix_seconds(&time), expected, "{text} {offset:?}");
    }

    #[test]
    fn times_are_unix_seconds() {
        check_time("1970:01:01 00:00:00", None, Some(0));
        check_time("2000:02:29 12:34:56", None, Some(951_827_696));
        check_time("2024:03:01 00:00:00", None, Some(1_709_251_200));
        check_time("2024:03:01 00:00:00", Some("+02:00"), Some(1_709_244_000));
        check_time("1969:12:31 23:59:59", None, Some(-1));
        check_time("0000:00:00 00:00:00", None, None);
        check_time("2024:13:01 00:00:00", None, None);
    }

    #[test]
    fn maker_is_not_said_twice() {
        assert_eq!(
            join_camera_name("Canon", "Canon EOS R5").as_deref(),
            Some("Canon EOS R5")
        );
        assert_eq!(
            join_camera_name("NIKON CORPORATION", "NIKON D70").as_deref(),
            Some("NIKON D70")
        );
        assert_eq!(
            join_camera_name("Apple", "iPhone 6").as_deref(),
            Some("Apple iPhone 6")
        );
        assert_eq!(join_camera_name("", ""), None);
    }

    #[test]
    fn rubbish_is_left_out() {
        for block in [&b""[..], b"II*\0", b"II*\0\xff\xff\xff\xff", &[0xff; 300]] {
            assert_eq!(read_exif(block), ExifAttributes::default());
        }
    }
}
