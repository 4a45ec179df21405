//! Formats rows as JSON lines, CSV, or the matrix of a NumPy file.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::format::ExportFormat;

/// The columns of a CSV file, as the API names them.
const COLUMNS: [&str; 14] = [
    "id",
    "library",
    "path",
    "format",
    "width",
    "height",
    "bytes",
    "content_hash",
    "taken_at",
    "modified_at",
    "indexed_at",
    "camera",
    "tags",
    "colors",
];

/// The length of the header of a NumPy file, whose number of rows is written at the end.
pub(super) const NPY_HEADER_BYTES: usize = 128;

/// Collects formatted rows until they are written.
pub(super) struct RowWriter {
    format: ExportFormat,
    has_vectors: bool,
    bytes: Vec<u8>,
    /// The ids of a NumPy file, one per line.
    ids: Vec<u8>,
    rows: usize,
    dimension: usize,
}

impl RowWriter {
    pub(super) fn new(format: ExportFormat, has_vectors: bool) -> Self {
        let mut writer = Self {
            format,
            has_vectors,
            bytes: Vec::new(),
            ids: Vec::new(),
            rows: 0,
            dimension: 0,
        };
        match format {
            ExportFormat::Jsonl => {}
            ExportFormat::Csv => {
                let vector = has_vectors.then_some("vector");
                let columns: Vec<String> = COLUMNS
                    .into_iter()
                    .chain(vector)
                    .map(str::to_owned)
                    .collect();
                writer.add_record(&columns);
            }
            ExportFormat::Npy => writer.bytes = vec![b' '; NPY_HEADER_BYTES],
        }
        writer
    }

    /// # Errors
    /// If the vectors of two rows have different lengths.
    pub(super) fn add_row(&mut self, image: &Value, vector: Option<&Vec<f32>>) -> Result<()> {
        if let Some(vector) = vector {
            if self.rows > 0 && vector.len() != self.dimension {
                bail!("the model of the index changed during the export; start it again");
            }
            self.dimension = vector.len();
        }
        self.rows += 1;
        match self.format {
            ExportFormat::Jsonl => {
                let mut row = image.clone();
                if let Some(vector) = vector {
                    row["vector"] = json!(vector);
                }
                self.bytes.extend_from_slice(row.to_string().as_bytes());
                self.bytes.push(b'\n');
            }
            ExportFormat::Csv => {
                let mut cells: Vec<String> = COLUMNS
                    .iter()
                    .map(|column| to_cell(&image[*column]))
                    .collect();
                if self.has_vectors {
                    cells.push(vector.map_or_else(String::new, |v| json!(v).to_string()));
                }
                self.add_record(&cells);
            }
            ExportFormat::Npy => {
                let numbers = vector.into_iter().flatten();
                self.bytes
                    .extend(numbers.flat_map(|number| number.to_le_bytes()));
                let id = image["id"].as_str().unwrap_or_default();
                self.ids.extend_from_slice(id.as_bytes());
                self.ids.push(b'\n');
            }
        }
        Ok(())
    }

    fn add_record(&mut self, cells: &[String]) {
        let mut writer = csv::Writer::from_writer(&mut self.bytes);
        let written = writer
            .write_record(cells)
            .and_then(|()| Ok(writer.flush()?));
        written.expect("memory accepts every record");
    }

    /// Returns the rows since the last call, and removes them.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Returns the ids since the last call, and removes them.
    pub(super) fn take_ids(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ids)
    }

    /// Returns the header of the NumPy file of all rows
    /// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, version 1.0).
    pub(super) fn npy_header(&self) -> Vec<u8> {
        let description = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
            self.rows, self.dimension
        );
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        let length = NPY_HEADER_BYTES - header.len() - 2;
        let length = u16::try_from(length).expect("the header is short");
        header.extend_from_slice(&length.to_le_bytes());
        header.extend_from_slice(description.as_bytes());
        header.resize(NPY_HEADER_BYTES - 1, b' ');
        header.push(b'\n');
        header
    }
}

/// Text and numbers as they are, null as an empty cell, lists as JSON.
fn to_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Value {
        json!({ "id": "3ac9", "library": "shop", "path": "a, \"b\"\n.jpg", "format": "jpeg",
            "width": 4, "height": 3, "bytes": 20, "content_hash": "af", "taken_at": null,
            "modified_at": "m", "indexed_at": "i", "camera": null, "tags": ["x,y"], "colors": [] })
    }

    #[test]
    fn cells_keep_every_character() {
        let mut writer = RowWriter::new(ExportFormat::Csv, true);
        writer.add_row(&image(), Some(&vec![0.5, -1.0])).unwrap();
        let text = String::from_utf8(writer.take_bytes()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap().len(), COLUMNS.len() + 1);
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(&record[2], "a, \"b\"\n.jpg");
        assert_eq!(&record[8], "");
        assert_eq!(&record[12], "[\"x,y\"]");
        assert_eq!(&record[14], "[0.5,-1.0]");
    }

    #[test]
    fn a_matrix_has_a_header_for_all_its_rows() {
        let mut writer = RowWriter::new(ExportFormat::Npy, true);
        for vector in [[0.5_f32, -1.0], [1.0, 2.0]] {
            writer.add_row(&image(), Some(&vector.to_vec())).unwrap();
        }
        let mut bytes = writer.take_bytes();
        let header = writer.npy_header();
        assert_eq!((header.len(), bytes.len()), (128, 128 + 16));
        assert_eq!((header.len() - 10).to_le_bytes()[..2], header[8..10]);
        assert!(String::from_utf8_lossy(&header).contains("'shape': (2, 2)"));
        assert_eq!(bytes.split_off(128)[4..8], (-1.0_f32).to_le_bytes());
        assert_eq!(writer.take_ids(), b"3ac9\n3ac9\n");
        let other_model = writer.add_row(&image(), Some(&vec![1.0]));
        assert!(other_model.unwrap_err().to_string().contains("changed"));
    }
}
