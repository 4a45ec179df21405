//! Dates and keywords from IPTC records, which programs of news agencies write.

use super::date::StatedTime;
use super::fields::MetadataFields;
use super::text::decode_text;

/// The record about the picture; the first one is about its transmission.
const APPLICATION_RECORD: u8 = 2;

/// Keywords that are kept.
const MAX_KEYWORDS: usize = 256;

/// The resource of Photoshop that contains IPTC records.
const IPTC_RESOURCE: u16 = 0x0404;

/// Reads records: `1c`, the number of the record and of the field, two bytes of length, the data.
pub(crate) fn read_iptc(mut records: &[u8]) -> MetadataFields {
    let mut fields = MetadataFields::default();
    let (mut created, mut digitized) = (SplitTime::default(), SplitTime::default());
    while let Some((&[0x1c, record, number, high, low], rest)) = records.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        // The highest bit marks a length of more than two bytes, for data beyond 32 KiB. No field
        // that is used is so long.
        let Some((data, rest)) = rest.split_at_checked(length).filter(|_| high & 0x80 == 0) else {
            break;
        };
        if record == APPLICATION_RECORD {
            match number {
                25 if fields.keywords.len() < MAX_KEYWORDS => {
                    fields.keywords.push(decode_text(data));
                }
                55 => created.date = data,
                60 => created.time = data,
                62 => digitized.date = data,
                63 => digitized.time = data,
                _ => {}
            }
        }
        records = rest;
    }
    fields.original = created.unix_seconds();
    fields.digitized = digitized.unix_seconds();
    fields
}

/// A time in two fields: `20210605` and `040302+0200`.
#[derive(Debug, Default)]
struct SplitTime<'b> {
    date: &'b [u8],
    time: &'b [u8],
}

impl SplitTime<'_> {
    fn unix_seconds(&self) -> Option<i64> {
        let date = StatedTime::parse(self.date)?;
        // A broken time leaves the date.
        let joined = [self.date.trim_ascii_end(), b" ", self.time].concat();
        StatedTime::parse(&joined).unwrap_or(date).unix_seconds()
    }
}

/// Returns the IPTC records among Photoshop's resources: `8BIM`, the number, a name of even length
/// with its own length in front, four bytes of length, data of even length.
pub(crate) fn find_iptc_resource(mut resources: &[u8]) -> Option<&[u8]> {
    while let Some((head, rest)) = resources.split_at_checked(6) {
        if &head[..4] != b"8BIM" {
            return None;
        }
        let name_bytes = 1 + usize::from(*rest.first()?);
        let rest = rest.get(name_bytes.next_multiple_of(2)..)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if head[4..] == IPTC_RESOURCE.to_be_bytes() {
            return Some(&rest[..length.min(rest.len())]);
        }
        resources = rest.get(length.checked_next_multiple_of(2)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode_field(number: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&[0x1c, 2, number][..], &length, data].concat()
    }

    #[track_caller]
    fn check_original(fields: &[(u8, &str)], expected: Option<i64>) {
        let records: Vec<u8> = fields
            .iter()
            .flat_map(|(number, text)| encode_field(*number, text.as_bytes()))
            .collect();
        assert_eq!(read_iptc(&records).original, expected, "{fields:?}");
    }

    #[test]
    fn dates_are_joined_from_two_fields() {
        const DAY: i64 = 1_622_851_200;
        const CLOCK: i64 = 4 * 3600 + 3 * 60 + 2;
        check_original(&[(55, "20210605"), (60, "040302+0000")], Some(DAY + CLOCK));
        check_original(
            &[(60, "040302+0200"), (55, "20210605")],
            Some(DAY + CLOCK - 7200),
        );
        check_original(&[(55, "20210605"), (60, "040302")], Some(DAY + CLOCK));
        check_original(&[(55, "20210605"), (60, "04:03:02")], Some(DAY + CLOCK));
        check_original(&[(55, "20210605")], Some(DAY));
        check_original(&[(55, "2021-06-05")], Some(DAY));
        check_original(&[(55, "20210605"), (60, "999999+0000")], Some(DAY));
        check_original(&[(55, "20210230"), (60, "040302+0000")], None);
        check_original(&[(55, "00000000")], None);
        check_original(&[(60, "040302+0000")], None);
        check_original(&[(25, "tree"), (55, "20210605")], Some(DAY));
    }

    #[test]
    fn broken_records_end_the_list() {
        let whole = [
            encode_field(25, "Stra\u{df}e".as_bytes()),
            encode_field(25, b"Stra\xdfe"),
            encode_field(55, b"20210605"),
        ]
        .concat();
        let fields = read_iptc(&whole);
        assert_eq!(fields.keywords, ["Straße", "Straße"]);
        assert_eq!(fields.original, Some(1_622_851_200));
        for length in 0..whole.len() {
            assert_eq!(read_iptc(&whole[..length]).original, None);
        }
        assert_eq!(
            read_iptc(&[0x1c, 2, 25, 0xff, 0xff, 1]),
            MetadataFields::default()
        );
        assert_eq!(read_iptc(&[0xff; 64]), MetadataFields::default());
    }

    #[test]
    fn records_are_found_among_resources() {
        let resources = [
            &b"8BIM\x03\xed\0\0\0\0\0\x03abc\0"[..],
            b"8BIM\x03\xf0\x04name\0\0\0\0\x02xy",
            b"8BIM\x04\x04\0\0\0\0\0\x04data",
        ]
        .concat();
        assert_eq!(find_iptc_resource(&resources), Some(&b"data"[..]));
        for length in 0..resources.len() {
            find_iptc_resource(&resources[..length]);
        }
        assert_eq!(
            find_iptc_resource(b"8BIM\x04\x05\0\0\xff\xff\xff\xff"),
            None
        );
        assert_eq!(find_iptc_resource(b"rubbish and more"), None);
    }
}
