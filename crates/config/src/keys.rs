//! The definition of a key, and the macro that generates a table of keys and its struct from one text.
//!
//! The list itself is in [`super::tables`]; this module is its grammar.

use super::kinds::Kind;

/// One key of a table: all data for the reader, the environment variables, `explain` and the schema.
#[derive(Debug)]
pub(super) struct Key {
    /// The name in the file.
    pub(super) name: &'static str,
    /// Its description, one entry per line, each with the leading space of its doc comment.
    pub(super) doc: &'static [&'static str],
    /// The permitted values.
    pub(super) kind: Kind,
    /// The value if none is written.
    pub(super) preset: Preset,
}

impl Key {
    /// The documentation as plain text.
    pub(super) fn about(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// The documentation in the form of a help line: no full stop, lower case unless it begins with an acronym.
    pub(super) fn hint(&self) -> String {
        let about = self.about();
        let (first, rest) = about.split_at(1);
        let acronym = rest.starts_with(|second: char| second.is_ascii_uppercase());
        let first = if acronym { first.to_owned() } else { first.to_lowercase() };
        first + rest.trim_end_matches('.')
    }
}

/// Value of a key that neither the environment nor the file contains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    /// Its absence is an error.
    Required,
    /// It has no value; the documentation of the key defines the meaning.
    Absent,
    /// This value, in the notation of the environment.
    Value(&'static str),
}

/// The key of a field: `r#match` is written `match`.
pub(super) const fn bare(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Generates, for every table, the struct of resolved values and its list of keys:
/// `/// doc` `field: Type = Kind => default;`. The default is `required`, `absent` or the text in the notation of the environment.
macro_rules! tables {
    ($(
        $(#[doc = $about:literal])+
        $table:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $kind:expr => $preset:tt; )+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $table {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = preset_doc!($preset)]
                pub $field: $type,
            )+
        }

        impl $table {
            /// The keys of this table, in the order of the documentation.
            pub(super) const KEYS: &'static [Key] = &[$(
                Key {
                    name: bare(stringify!($field)),
                    doc: &[$($doc),+],
                    kind: $kind,
                    preset: preset!($preset),
                },
            )+];
        }

        impl Setting for $table {
            fn read(tree: &serde_json::Value) -> Option<Self> {
                let value = |name| tree.get(name).unwrap_or(&serde_json::Value::Null);
                Some(Self { $( $field: Setting::read(value(bare(stringify!($field))))?, )+ })
            }

            fn show(&self) -> serde_json::Value {
                let mut tree = serde_json::Map::new();
                $( tree.insert(bare(stringify!($field)).to_owned(), self.$field.show()); )+
                serde_json::Value::Object(tree)
            }
        }
    )+};
}

/// The [`Preset`] of a default in the list.
macro_rules! preset {
    (required) => {
        Preset::Required
    };
    (absent) => {
        Preset::Absent
    };
    ($value:literal) => {
        Preset::Value($value)
    };
}

/// The sentence about the default that ends the documentation of a field.
macro_rules! preset_doc {
    (required) => {
        "Required."
    };
    (absent) => {
        "Default: absent."
    };
    ("") => {
        "Default: empty."
    };
    ($value:literal) => {
        concat!("Default: `", $value, "`.")
    };
}

pub(super) use {preset, preset_doc, tables};
