//! Orientation, times, camera and keywords from an XMP packet.
//!
//! A packet is RDF in XML: `rdf:RDF` contains `rdf:Description` elements, and each property is an
//! attribute or a child of one. Properties of nested resources, such as the history of edits, are
//! about other pictures and are skipped. The namespaces are recognised by their addresses, whatever
//! prefix a program gives them. What stands before an error in the XML is used.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::date::StatedTime;
use super::fields::MetadataFields;
use super::text::clean_text;

/// Longer packets are cut: the properties that are used stand near the beginning.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// Elements within elements; packets have about eight.
const MAX_DEPTH: usize = 64;

/// Prefixes that one packet may declare for the namespaces that are used.
const MAX_PREFIXES: usize = 32;

/// Keywords that are kept.
const MAX_KEYWORDS: usize = 256;

/// Bytes of one property's text that are kept.
const MAX_VALUE_BYTES: usize = 1024;

/// The namespaces that are used, and their usual prefixes.
const NAMESPACES: &[(&str, &str)] = &[
    ("http://www.w3.org/1999/02/22-rdf-syntax-ns#", "rdf"),
    ("http://ns.adobe.com/tiff/1.0/", "tiff"),
    ("http://ns.adobe.com/exif/1.0/", "exif"),
    ("http://ns.adobe.com/xap/1.0/", "xmp"),
    ("http://ns.adobe.com/photoshop/1.0/", "photoshop"),
    ("http://purl.org/dc/elements/1.1/", "dc"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum XmpProperty {
    Orientation,
    Make,
    Model,
    Original,
    Created,
    Digitized,
    CreateDate,
    Keywords,
}

/// Reads a packet in UTF-8.
pub(crate) fn read_xmp(packet: &[u8]) -> MetadataFields {
    let packet = &packet[..packet.len().min(MAX_PACKET_BYTES)];
    let text = String::from_utf8_lossy(packet);
    let mut xml = Reader::from_str(&text);
    let config = xml.config_mut();
    config.check_end_names = false;
    config.allow_dangling_amp = true;
    let mut walk = PacketWalk::default();
    while let Ok(event) = xml.read_event() {
        match event {
            Event::Start(element) => {
                if walk.depth >= MAX_DEPTH {
                    break;
                }
                walk.enter_element(&element);
                walk.depth += 1;
            }
            Event::Empty(element) => {
                walk.enter_element(&element);
                walk.leave_element();
            }
            Event::End(_) => {
                walk.depth = walk.depth.saturating_sub(1);
                walk.leave_element();
            }
            Event::Text(text) => walk.add_text(&text.xml10_content()),
            Event::CData(text) => walk.add_text(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(letter)) => walk.add_text(letter.encode_utf8(&mut [0; 4])),
                _ => walk.add_text(match &*reference.xml10_content() {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => "",
                }),
            },
            Event::Eof => break,
            _ => {}
        }
    }
    walk.values.into_fields()
}

/// The position in a packet. Depths count the elements around an element.
#[derive(Debug, Default)]
struct PacketWalk {
    depth: usize,
    /// Depth of `rdf:RDF` while inside of it.
    rdf_depth: Option<usize>,
    /// The property whose element is open, and its depth.
    open: Option<(XmpProperty, usize)>,
    text: String,
    /// Declared prefixes and the usual ones that they stand for.
    prefixes: Vec<(String, &'static str)>,
    values: XmpValues,
}

impl PacketWalk {
    /// Handles a start tag at the current depth.
    fn enter_element(&mut self, element: &BytesStart<'_>) {
        self.read_prefixes(element);
        if self.open.is_some() {
            // Items of a list: `rdf:li` within `rdf:Bag`.
            self.text.clear();
            return;
        }
        let name = element.name();
        let (prefix, local) = split_name(name.as_ref());
        let prefix = self.usual_prefix(prefix);
        match self.rdf_depth {
            None if (prefix, local) == ("rdf", "RDF") => self.rdf_depth = Some(self.depth),
            Some(rdf) if self.depth == rdf + 1 => self.read_attributes(element),
            Some(rdf) if self.depth == rdf + 2 => {
                if let Some(property) = find_property(prefix, local) {
                    self.open = Some((property, self.depth));
                    self.text.clear();
                }
            }
            _ => {}
        }
    }

    /// Handles the end of an element at the current depth.
    fn leave_element(&mut self) {
        if let Some((property, depth)) = self.open {
            self.values.set(property, self.text.trim());
            self.text.clear();
            if self.depth <= depth {
                self.open = None;
            }
        }
        if self.rdf_depth.is_some_and(|rdf| self.depth <= rdf) {
            self.rdf_depth = None;
        }
    }

    fn add_text(&mut self, text: &str) {
        if self.open.is_some() && self.text.len() < MAX_VALUE_BYTES {
            self.text.extend(text.chars().take(MAX_VALUE_BYTES));
        }
    }

    fn read_prefixes(&mut self, element: &BytesStart<'_>) {
        for attribute in element.attributes().with_checks(false).flatten() {
            if let Some(prefix) = attribute.key.as_ref().strip_prefix("xmlns:")
                && let Ok(address) = attribute.normalized_value(XmlVersion::Implicit1_0)
                && let Some((_, usual)) = NAMESPACES.iter().find(|(known, _)| *known == address)
                && self.prefixes.len() < MAX_PREFIXES
                && prefix != *usual
            {
                self.prefixes.push((prefix.to_owned(), usual));
            }
        }
    }

    fn read_attributes(&mut self, element: &BytesStart<'_>) {
        for attribute in element.attributes().with_checks(false).flatten() {
            let (prefix, local) = split_name(attribute.key.as_ref());
            if let Some(property) = find_property(self.usual_prefix(prefix), local)
                && let Ok(value) = attribute.normalized_value(XmlVersion::Implicit1_0)
            {
                self.values.set(property, value.trim());
            }
        }
    }

    fn usual_prefix<'p>(&self, prefix: &'p str) -> &'p str {
        self.prefixes
            .iter()
            .find(|(declared, _)| declared == prefix)
            .map_or(prefix, |(_, usual)| usual)
    }
}

fn split_name(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

fn find_property(prefix: &str, local: &str) -> Option<XmpProperty> {
    Some(match (prefix, local) {
        ("tiff", "Orientation") => XmpProperty::Orientation,
        ("tiff", "Make") => XmpProperty::Make,
        ("tiff", "Model") => XmpProperty::Model,
        ("exif", "DateTimeOriginal") => XmpProperty::Original,
        ("photoshop", "DateCreated") => XmpProperty::Created,
        ("exif", "DateTimeDigitized") => XmpProperty::Digitized,
        // Older programs call the namespace `xap`.
        ("xmp" | "xap", "CreateDate") => XmpProperty::CreateDate,
        ("dc", "subject") => XmpProperty::Keywords,
        _ => return None,
    })
}

/// The first readable value of each property.
#[derive(Debug, Default)]
struct XmpValues {
    orientation: Option<u8>,
    make: Option<String>,
    model: Option<String>,
    original: Option<i64>,
    created: Option<i64>,
    digitized: Option<i64>,
    create_date: Option<i64>,
    keywords: Vec<String>,
}

impl XmpValues {
    fn set(&mut self, property: XmpProperty, value: &str) {
        if value.is_empty() {
            return;
        }
        let time = || StatedTime::parse(value.as_bytes())?.unix_seconds();
        let name = || Some(clean_text(value)).filter(|name| !name.is_empty());
        match property {
            XmpProperty::Orientation => set_if_none(&mut self.orientation, || {
                let number = value.parse().ok()?;
                (1..=8).contains(&number).then_some(number)
            }),
            XmpProperty::Make => set_if_none(&mut self.make, name),
            XmpProperty::Model => set_if_none(&mut self.model, name),
            XmpProperty::Original => set_if_none(&mut self.original, time),
            XmpProperty::Created => set_if_none(&mut self.created, time),
            XmpProperty::Digitized => set_if_none(&mut self.digitized, time),
            XmpProperty::CreateDate => set_if_none(&mut self.create_date, time),
            XmpProperty::Keywords if self.keywords.len() < MAX_KEYWORDS => {
                self.keywords.push(clean_text(value));
            }
            XmpProperty::Keywords => {}
        }
    }

    fn into_fields(self) -> MetadataFields {
        MetadataFields {
            orientation: self.orientation,
            original: self.original.or(self.created),
            digitized: self.digitized.or(self.create_date),
            modified: None,
            make: self.make,
            model: self.model,
            keywords: self.keywords,
        }
    }
}

fn set_if_none<T>(place: &mut Option<T>, value: impl FnOnce() -> Option<T>) {
    if place.is_none() {
        *place = value();
    }
}

#[cfg(test)]
mod tests;
