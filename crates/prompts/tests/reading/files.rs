//! Files of every format, in a folder of their own.

use std::{fs, path::PathBuf, sync::Arc};

use arrow_array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use parquet::{
    data_type::{ByteArray, ByteArrayType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

/// A folder with files.
pub(crate) struct Files(pub(crate) tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    pub(crate) fn tar(&self, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes)
                .expect("appended");
        }
        self.write(name, tar.into_inner().expect("finished"))
    }

    /// Row groups of a nullable column `prompt`, after a column that nobody asks for.
    pub(crate) fn parquet(&self, name: &str, groups: &[&[Option<&[u8]>]]) -> PathBuf {
        let schema = "message rows { required binary url; optional binary prompt (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).expect("valid schema"));
        let properties = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .build();
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))
            .expect("valid schema");
        for rows in groups {
            let urls: Vec<_> = rows.iter().map(|_| ByteArray::from("u")).collect();
            let values = rows
                .iter()
                .flatten()
                .map(|value| ByteArray::from(value.to_vec()));
            let values: Vec<_> = values.collect();
            let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
            let mut group = writer.next_row_group().expect("a group");
            for (values, levels) in [(urls, None), (values, Some(&levels[..]))] {
                let mut column = group.next_column().expect("readable").expect("two columns");
                let typed = column.typed::<ByteArrayType>();
                typed.write_batch(&values, levels, None).expect("written");
                column.close().expect("closed");
            }
            group.close().expect("closed");
        }
        self.write(name, writer.into_inner().expect("finished"))
    }

    /// Record batches of a nullable column `prompt`, after one of numbers; a file if called so, else a stream.
    pub(crate) fn arrow(&self, name: &str, batches: &[&[Option<&str>]]) -> PathBuf {
        let is_file = name.ends_with(".feather");
        let batches: Vec<RecordBatch> = batches
            .iter()
            .map(|rows| {
                let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.len() as i64));
                let texts: ArrayRef = if is_file {
                    Arc::new(StringArray::from(rows.to_vec()))
                } else {
                    Arc::new(LargeStringArray::from(rows.to_vec()))
                };
                RecordBatch::try_from_iter_with_nullable([
                    ("id", ids, false),
                    ("prompt", texts, true),
                ])
                .expect("columns of one length")
            })
            .collect();
        let (schema, mut bytes) = (batches[0].schema(), Vec::new());
        if is_file {
            let mut writer = FileWriter::try_new(&mut bytes, &schema).expect("a schema");
            for batch in &batches {
                writer.write(batch).expect("written");
            }
            writer.finish().expect("finished");
        } else {
            let mut writer = StreamWriter::try_new(&mut bytes, &schema).expect("a schema");
            for batch in &batches {
                writer.write(batch).expect("written");
            }
            writer.finish().expect("finished");
        }
        self.write(name, bytes)
    }
}
