use super::*;

/// 2021-06-05 00:00:00 UTC.
const DAY: i64 = 1_622_851_200;
/// 04:03:02.
const CLOCK: i64 = 4 * 3600 + 3 * 60 + 2;

fn read_seconds(text: &[u8]) -> Option<i64> {
    StatedTime::parse(text)?.unix_seconds()
}

#[track_caller]
fn check_time(text: &str, expected: Option<i64>) {
    assert_eq!(read_seconds(text.as_bytes()), expected, "{text:?}");
}

#[test]
fn all_usual_forms_are_read() {
    for text in [
        "2021:06:05 04:03:02",
        "2021-06-05T04:03:02",
        "2021-06-05 04:03:02",
        "2021/06/05 04:03:02",
        "2021.06.05 04:03:02",
        "2021:06:05T04:03:02",
        "2021:06:05:04:03:02",
        "2021:06:05 04:03:02.57",
        "2021:06:05 04:03:02,579123456789123",
        "2021-06-05T04:03:02.000Z",
        "2021-06-05T04:03:02Z",
        "2021-06-05T04:03:02+00:00",
        "  2021:06:05 04:03:02",
        "2021:06:05 04:03:02   ",
        "2021:06:05 04:03:02\0\0\0",
        "\0 2021:06:05 04:03:02",
        "2021:06:05 04:03:02\x002020:01:01 00:00:00",
        "\"2021:06:05 04:03:02\"",
        "2021:6:5 4:3:2",
        "2021: 6: 5  4: 3: 2",
        "2021-06-05  04:03:02",
        "2021/06/05 4:03:02 AM",
        "2021/06/05 04:03:02am",
        "20210605T040302",
        "20210605 04:03:02",
        "20210605040302",
        "2021:06:05 04:03:02 CEST",
    ] {
        check_time(text, Some(DAY + CLOCK));
    }
    check_time("2021/06/05 4:03:02 PM", Some(DAY + CLOCK + 12 * 3600));
    check_time("2021/06/05 12:00:00 AM", Some(DAY));
    check_time("2021/06/05 12:00:00 PM", Some(DAY + 12 * 3600));
    for text in [
        "2021:06:05 04:03",
        "2021-06-05T04:03",
        "2021-06-05T04:03Z",
        "2021:06:05 04:03:  ",
    ] {
        check_time(text, Some(DAY + 4 * 3600 + 3 * 60));
    }
}

#[test]
fn a_date_alone_is_midnight_of_its_day() {
    for text in [
        "2021:06:05",
        "2021-06-05",
        "2021/06/05",
        "20210605",
        "2021:06:05 ",
        "2021:06:05\0",
        "2021:06:05   :  :  ",
        "2021-06-05Z",
        "2021-06-05+02:00",
        "2021-06-05T",
    ] {
        check_time(text, Some(DAY));
    }
    let date = StatedTime::parse(b"2021:06:05").unwrap();
    let with_zone = date.with_default_offset(Some(7200));
    assert_eq!(with_zone.unix_seconds(), Some(DAY), "it stays on its day");
}

#[test]
fn zones_are_applied() {
    let two_hours = Some(DAY + CLOCK - 7200);
    for zone in [
        "+02:00",
        " +02:00",
        "+0200",
        "+02",
        "+2",
        " UTC+2",
        " +02:00 DST",
    ] {
        check_time(&format!("2021:06:05 04:03:02{zone}"), two_hours);
    }
    check_time("2021-06-05T04:03:02.5-09:30", Some(DAY + CLOCK + 34_200));
    check_time("2021-06-05T04:03:02\u{2212}01:00", Some(DAY + CLOCK + 3600));
    check_time(
        "2021-06-05T04:03+05:45",
        Some(DAY + 4 * 3600 + 180 - 20_700),
    );
    // Impossible zones count as UTC.
    for zone in ["+99:00", "+02:75", "+", "+:", "  :  "] {
        check_time(&format!("2021:06:05 04:03:02{zone}"), Some(DAY + CLOCK));
    }
    let plain = StatedTime::parse(b"2021:06:05 04:03:02").unwrap();
    assert_eq!(
        plain.with_default_offset(Some(7200)).unix_seconds(),
        two_hours
    );
    let own = StatedTime::parse(b"2021:06:05 04:03:02+02:00").unwrap();
    assert_eq!(
        own.with_default_offset(Some(-3600)).unix_seconds(),
        two_hours
    );
}

#[test]
fn impossible_and_ambiguous_dates_are_no_dates() {
    for text in [
        "",
        " ",
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "2021:02:30 04:03:02",
        "2021:02:29 04:03:02",
        "2021:04:31",
        "2021:13:01 00:00:00",
        "2021:00:10 00:00:00",
        "2021:06:00 00:00:00",
        "2021:06:05 24:00:00",
        "2021:06:05 25:00:00",
        "2021:06:05 04:61:00",
        "2021:06:05 04:03:61",
        "2021:06:05 13:00:00 AM",
        "2021:06:05 0x:03:02",
        "2021:06:05 noon",
        "2021:06:  ",
        "2021:06",
        "2021",
        "2021:06:051",
        "202106",
        "2021060",
        "05/06/2021 04:03:02",
        "06-05-2021",
        "1234:06:05 04:03:02",
        "21:06:05 04:03:02",
        "unknown",
        "2021-W22-6",
        "\u{ff12}021:06:05",
    ] {
        check_time(text, None);
    }
}

#[test]
fn days_are_counted_rightly() {
    check_time("1970:01:01 00:00:00", Some(0));
    check_time("2000:02:29 12:34:56", Some(951_827_696));
    check_time("2024:03:01 00:00:00", Some(1_709_251_200));
    check_time("2024:03:01 00:00:00+02:00", Some(1_709_244_000));
    check_time("1969:12:31 23:59:59", Some(-1));
    check_time("1826:01:01 00:00:00", Some(-4_544_208_000));
    check_time("9999:12:31 23:59:59-15:00", None);
    // A leap second stays on its day.
    check_time("2016:12:31 23:59:60", Some(1_483_228_799));
}

#[test]
fn words_are_read_as_in_e_mails() {
    let seconds = |text: &str| StatedTime::parse_rfc2822(text.as_bytes())?.unix_seconds();
    assert_eq!(seconds("Sat, 05 Jun 2021 04:03:02 GMT"), Some(DAY + CLOCK));
    assert_eq!(
        seconds("5 Jun 2021 04:03:02 +0200"),
        Some(DAY + CLOCK - 7200)
    );
    assert_eq!(seconds("Sat, 31 Feb 2021 04:03:02 GMT"), None);
    assert_eq!(seconds("yesterday"), None);
}

#[test]
fn no_text_makes_it_panic() {
    let alphabet = b"0129:-/. TtZz+AaPpMm,\0\xe2\x88\x92\xff";
    let mut state = 1_u64;
    for _ in 0..200_000 {
        let mut text = b"2021:06:05 04:03:02+02:00".to_vec();
        for _ in 0..4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let place = (state >> 33) as usize % text.len();
            let letter = alphabet[(state >> 50) as usize % alphabet.len()];
            match state >> 60 & 3 {
                0 => text.truncate(place.max(1)),
                1 => text.insert(place, letter),
                _ => text[place] = letter,
            }
        }
        read_seconds(&text);
        parse_offset(&text);
    }
}
