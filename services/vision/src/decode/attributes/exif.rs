//! Orientation, times, camera and keywords from an EXIF block.
//!
//! EXIF blocks are written by thousands of programs and often broken: a number has any type, a text
//! has the type of bytes, a time has the form of another standard. What can be understood is used.

use exif::{Context, Exif, In, Tag, Value};

use super::date::{StatedTime, parse_offset};
use super::fields::MetadataFields;
use super::text::{clean_text, decode_text};

/// Keywords in UTF-16, separated by semicolons, as Windows writes them.
const WINDOWS_KEYWORDS: Tag = Tag(Context::Tiff, 0x9c9e);

/// Hours east of Greenwich, of the original time and of the last change (TIFF/EP).
const ZONE_HOURS: u16 = 0x882a;

/// Reads a small block that begins with a TIFF header.
pub(crate) fn read_exif(block: Vec<u8>) -> MetadataFields {
    let exif = exif::Reader::new()
        .continue_on_error(true)
        .read_raw(block)
        .or_else(|error| error.distill_partial_result(|_| {}));
    let Ok(exif) = exif else {
        return MetadataFields::default();
    };
    let time = |time, offset, zone_index| {
        let written = StatedTime::parse(&text_of(value_of(&exif, time)?)?)?;
        let offset = value_of(&exif, offset)
            .and_then(text_of)
            .and_then(|text| parse_offset(&text))
            .or_else(|| zone_seconds(&exif, zone_index));
        written.with_default_offset(offset).unix_seconds()
    };
    let name = |tag| {
        let text = text_of(value_of(&exif, tag)?)?;
        Some(decode_text(&text)).filter(|name| !name.is_empty())
    };
    MetadataFields {
        // Only the first directory describes the image; the next one describes its thumbnail.
        orientation: exif
            .get_field(Tag::Orientation, In::PRIMARY)
            .and_then(|field| orientation_of(&field.value, exif.little_endian())),
        original: time(Tag::DateTimeOriginal, Tag::OffsetTimeOriginal, 0),
        digitized: time(Tag::DateTimeDigitized, Tag::OffsetTimeDigitized, 0),
        modified: time(Tag::DateTime, Tag::OffsetTime, 1),
        make: name(Tag::Make),
        model: name(Tag::Model),
        keywords: windows_keywords(&exif),
    }
}

/// Returns a tag's value from the directory where it belongs, else from the other one.
fn value_of(exif: &Exif, tag: Tag) -> Option<&Value> {
    let other = match tag.context() {
        Context::Tiff => Context::Exif,
        _ => Context::Tiff,
    };
    [tag, Tag(other, tag.number())]
        .into_iter()
        .find_map(|tag| exif.get_field(tag, In::PRIMARY))
        .map(|field| &field.value)
}

/// Returns the bytes of a text, whatever type it has.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Ascii(lines) => lines
            .iter()
            .find(|line| !line.trim_ascii().is_empty())
            .cloned(),
        Value::Byte(bytes) => Some(bytes.clone()),
        Value::SByte(bytes) => Some(bytes.iter().map(|byte| *byte as u8).collect()),
        // Comments of type "undefined" begin with the name of their character set.
        Value::Undefined(bytes, _) => {
            let text = bytes.strip_prefix(b"ASCII\0\0\0").unwrap_or(bytes);
            Some(text.to_vec())
        }
        _ => None,
    }
}

/// Returns the first number, from 1 to 8, of any type.
fn orientation_of(value: &Value, is_little_endian: bool) -> Option<u8> {
    let number = match value {
        Value::Byte(numbers) => f64::from(*numbers.first()?),
        Value::SByte(numbers) => f64::from(*numbers.first()?),
        Value::Short(numbers) => f64::from(*numbers.first()?),
        Value::SShort(numbers) => f64::from(*numbers.first()?),
        Value::Long(numbers) => f64::from(*numbers.first()?),
        Value::SLong(numbers) => f64::from(*numbers.first()?),
        Value::Rational(numbers) => numbers.first()?.to_f64(),
        Value::SRational(numbers) => numbers.first()?.to_f64(),
        Value::Float(numbers) => f64::from(*numbers.first()?),
        Value::Double(numbers) => *numbers.first()?,
        Value::Ascii(lines) => std::str::from_utf8(lines.first()?)
            .ok()?
            .trim()
            .parse()
            .ok()?,
        // One number of all the bytes.
        Value::Undefined(bytes, _) if bytes.len() <= 4 => {
            let add = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
            f64::from(match is_little_endian {
                true => bytes.iter().rev().fold(0, add),
                false => bytes.iter().fold(0, add),
            })
        }
        _ => return None,
    };
    (1..=8_u8).find(|orientation| f64::from(*orientation) == number)
}

fn zone_seconds(exif: &Exif, index: usize) -> Option<i32> {
    let hours = match value_of(exif, Tag(Context::Exif, ZONE_HOURS))? {
        Value::SShort(hours) => i32::from(*hours.get(index)?),
        Value::SLong(hours) => *hours.get(index)?,
        _ => return None,
    };
    (-15..=15).contains(&hours).then_some(hours * 3600)
}

fn windows_keywords(exif: &Exif) -> Vec<String> {
    let Some(Value::Byte(bytes) | Value::Undefined(bytes, _)) = value_of(exif, WINDOWS_KEYWORDS)
    else {
        return Vec::new();
    };
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
        .split(';')
        .map(clean_text)
        .collect()
}
