//! Errors of a well-formed configuration that cannot be used: a missing file, an invalid key. They appear while a part
//! is built, and name the table of the configuration, so that `check-config` can show its line.

/// Why nothing can be made of a table of the configuration. Holds nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// Such as `upstreams[0]`.
    pub table: String,
    /// Its name for people who do not see the file, such as `upstream eu-de`; empty without a name.
    pub who: String,
    /// Begins with the name of the key, where one is to blame.
    pub why: String,
}

impl BuildError {
    /// An error in a single table.
    pub fn alone(table: impl Into<String>) -> impl FnOnce(String) -> Self {
        move |why| Self { table: table.into(), who: String::new(), why }
    }

    /// An error in one of several tables: `kinds[index]`, a `kind` with this `name`.
    pub fn one(kind: &str, index: usize, name: &str) -> impl FnOnce(String) -> Self + use<> {
        let (table, who) = (format!("{kind}s[{index}]"), format!("{kind} {name}"));
        move |why| Self { table, who, why }
    }
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.who.as_str() {
            "" => f.write_str(&self.why),
            who => write!(f, "{who}: {}", self.why),
        }
    }
}

/// Each table of which nothing can be made: one fault does not hide the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BuildErrors(Vec<BuildError>);

impl BuildErrors {
    /// The built part, or `None` after its errors were kept.
    pub fn keep<T>(&mut self, made: Result<T, impl Into<Self>>) -> Option<T> {
        match made {
            Ok(made) => Some(made),
            Err(build_error) => {
                // Two listeners can need the same table.
                for build_error in build_error.into().0 {
                    if !self.0.contains(&build_error) {
                        self.0.push(build_error);
                    }
                }
                None
            }
        }
    }

    /// `made` of what was no fault, if nothing was.
    pub fn or<T>(self, made: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(made) } else { Err(self) }
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, BuildError> {
        self.0.iter()
    }
}

impl From<BuildError> for BuildErrors {
    fn from(build_error: BuildError) -> Self {
        Self(vec![build_error])
    }
}

impl std::fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut before = "";
        for build_error in &self.0 {
            write!(f, "{before}{build_error}")?;
            before = "; ";
        }
        Ok(())
    }
}

/// For those to whom the words are enough.
impl From<BuildErrors> for String {
    fn from(build_errors: BuildErrors) -> Self {
        build_errors.to_string()
    }
}
