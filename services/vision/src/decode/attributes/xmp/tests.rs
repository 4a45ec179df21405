use super::*;

const TAKEN_AT: i64 = 1_622_865_782;
const NAMESPACE_DECLARATIONS: &str = "xmlns:tiff=\"http://ns.adobe.com/tiff/1.0/\" \
    xmlns:exif=\"http://ns.adobe.com/exif/1.0/\" xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" \
    xmlns:photoshop=\"http://ns.adobe.com/photoshop/1.0/\" \
    xmlns:dc=\"http://purl.org/dc/elements/1.1/\"";

/// A packet whose description contains elements.
fn packet_of(elements: &str) -> String {
    format!(
        "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>\n<x:xmpmeta xmlns:x='adobe:ns:meta/'>\n \
         <rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\n  \
         <rdf:Description rdf:about='' {NAMESPACE_DECLARATIONS}>\n   {elements}\n  \
         </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n     \n<?xpacket end='w'?>\0\0"
    )
}

fn read_elements(elements: &str) -> MetadataFields {
    read_xmp(packet_of(elements).as_bytes())
}

#[test]
fn properties_are_elements_or_attributes() {
    let fields = read_elements(
        "<tiff:Orientation>6</tiff:Orientation>\n\
         <tiff:Make>Maker &amp; Sons</tiff:Make><tiff:Model><![CDATA[Model <5>]]></tiff:Model>\
         <exif:DateTimeOriginal>2021-06-05T04:03:02</exif:DateTimeOriginal>\
         <xmp:CreateDate>2021-06-05T06:03:02.5+02:00</xmp:CreateDate>\
         <dc:subject>\n<rdf:Bag>\n<rdf:li>tree</rdf:li>\n<rdf:li>blue &#x73;ky</rdf:li>\n\
         </rdf:Bag>\n</dc:subject>",
    );
    assert_eq!(fields.orientation, Some(6));
    assert_eq!(fields.make.as_deref(), Some("Maker & Sons"));
    assert_eq!(fields.model.as_deref(), Some("Model <5>"));
    assert_eq!(fields.original, Some(TAKEN_AT));
    assert_eq!(fields.digitized, Some(TAKEN_AT));
    assert_eq!(fields.keywords, ["tree", "blue sky"]);

    let as_attributes = format!(
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description \
         {NAMESPACE_DECLARATIONS} tiff:Orientation='8' \
         photoshop:DateCreated=' 2021-06-05T04:03:02Z ' tiff:Model='R&amp;D'/></rdf:RDF>"
    );
    let fields = read_xmp(as_attributes.as_bytes());
    assert_eq!(fields.orientation, Some(8));
    assert_eq!(fields.original, Some(TAKEN_AT));
    assert_eq!(fields.model.as_deref(), Some("R&D"));
}

#[test]
fn several_descriptions_and_other_prefixes_are_read() {
    let packet = "<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\
        <r:Description xmlns:a='http://ns.adobe.com/tiff/1.0/' a:Orientation='3'/>\
        <r:Description><b:CreateDate xmlns:b='http://ns.adobe.com/xap/1.0/'>2021-06-05T04:03:02\
        </b:CreateDate></r:Description>\
        <r:Description xap:CreateDate='1999-01-01'/></r:RDF>";
    let fields = read_xmp(packet.as_bytes());
    assert_eq!(fields.orientation, Some(3));
    assert_eq!(fields.digitized, Some(TAKEN_AT));
}

#[test]
fn the_original_goes_before_the_creation() {
    let fields = read_elements(
        "<photoshop:DateCreated>2000-01-01</photoshop:DateCreated>\
         <exif:DateTimeOriginal>2021-06-05T04:03:02</exif:DateTimeOriginal>\
         <exif:DateTimeDigitized>2021-06-05T04:03:02</exif:DateTimeDigitized>\
         <xmp:CreateDate>2000-01-01</xmp:CreateDate>",
    );
    assert_eq!(fields.original, Some(TAKEN_AT));
    assert_eq!(fields.digitized, Some(TAKEN_AT));
    let fields = read_elements(
        "<exif:DateTimeOriginal>2021-02-30T00:00:00</exif:DateTimeOriginal>\
         <photoshop:DateCreated>2021-06-05T04:03:02</photoshop:DateCreated>",
    );
    assert_eq!(fields.original, Some(TAKEN_AT), "the next one counts");
}

#[test]
fn nested_resources_are_about_other_pictures() {
    let fields = read_elements(
        "<xmpMM:Ingredients><rdf:Bag><rdf:li><rdf:Description tiff:Orientation='6'>\
         <exif:DateTimeOriginal>2021-06-05T04:03:02</exif:DateTimeOriginal></rdf:Description>\
         </rdf:li></rdf:Bag></xmpMM:Ingredients><xmp:CreateDate>2021-06</xmp:CreateDate>",
    );
    assert_eq!(fields, MetadataFields::default());
    for orientation in ["0", "9", "-1", "six", "", "6.5"] {
        let element = format!("<tiff:Orientation>{orientation}</tiff:Orientation>");
        assert_eq!(read_elements(&element).orientation, None, "{orientation}");
    }
}

#[test]
fn broken_packets_are_read_up_to_the_error() {
    let whole = packet_of("<tiff:Orientation>6</tiff:Orientation><tiff:Make>A & B</tiff:Make>");
    assert_eq!(read_xmp(whole.as_bytes()).orientation, Some(6));
    for length in 0..whole.len() {
        read_xmp(&whole.as_bytes()[..length]);
    }
    let latin_1 = whole.replace("A & B", "Cam#ra").replace('#', "\u{fffd}");
    assert_eq!(read_xmp(latin_1.as_bytes()).make.as_deref(), Some("Camra"));
    for rubbish in [
        &b""[..],
        b"<",
        b"<a",
        b"</a></b></c>",
        b"\xff\xfe<\0",
        &[0; 64],
    ] {
        assert_eq!(read_xmp(rubbish), MetadataFields::default());
    }
}

/// Each of these packets makes some reader of XML need quadratic time or memory, or overflow its
/// stack.
#[test]
fn large_packets_take_little_time() {
    let start = std::time::Instant::now();
    let head = "<rdf:RDF><rdf:Description><dc:subject>";
    let many_attributes: String = (0..100_000).map(|n| format!("a{n}='' ")).collect();
    let entities = "<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;&b;'>]>";
    for packet in [
        "<a>".repeat(1 << 20),
        "<a xmlns:b='c'>".repeat(1 << 17),
        format!("<a {many_attributes}/>"),
        format!("{head}{}", "<rdf:li>t</rdf:li>".repeat(1 << 17)),
        format!("{head}{}", "&#65;".repeat(1 << 20)),
        format!("{entities}{head}{}", "&c;".repeat(1 << 20)),
        format!("{head}{}", "x".repeat(64 << 20)),
        "<!--".repeat(1 << 20),
        "<?".repeat(1 << 20),
        "xmlns:tiff='http://ns.adobe.com/tiff/1.0/' ".repeat(1 << 15),
    ] {
        let fields = read_xmp(packet.as_bytes());
        assert!(fields.keywords.len() <= MAX_KEYWORDS);
    }
    let elapsed = start.elapsed();
    assert!(elapsed.as_secs() < 20, "{elapsed:?}");
}
