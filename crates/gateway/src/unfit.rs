//! Settings that are well written and cannot be used: a file that is not there, a key that is none. Found when something
//! is made of them, and told with the table that they stand in, so that `check-config` can point at a line.

/// Why nothing can be made of a table of the settings. Holds nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// Such as `upstreams[0]`.
    pub(crate) table: String,
    /// What it is called by those who do not see the file, such as `upstream eu-de`; empty where it has no name.
    pub(crate) who: String,
    /// Begins with the name of the key, where one is to blame.
    pub(crate) why: String,
}

impl Unfit {
    /// What is wrong with a table that there is one of.
    pub(crate) fn alone(table: impl Into<String>) -> impl FnOnce(String) -> Self {
        move |why| Self { table: table.into(), who: String::new(), why }
    }

    /// What is wrong with one of many tables: `kinds[index]`, a `kind` called `name`.
    pub(crate) fn one(kind: &str, index: usize, name: &str) -> impl FnOnce(String) -> Self + use<> {
        let (table, who) = (format!("{kind}s[{index}]"), format!("{kind} {name}"));
        move |why| Self { table, who, why }
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.who.as_str() {
            "" => f.write_str(&self.why),
            who => write!(f, "{who}: {}", self.why),
        }
    }
}

/// For those to whom the words are enough.
impl From<Unfit> for String {
    fn from(unfit: Unfit) -> Self {
        unfit.to_string()
    }
}
