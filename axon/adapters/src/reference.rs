//! What a user names: a path, or a model of a hub.

use std::path::PathBuf;

use axon_package::ModelId;

use crate::{Error, Result};

/// Namespaces that always mean a hub, also where a directory of that name lies.
const HUB_NAMESPACES: [&str; 2] = ["hf", "huggingface"];

/// Namespace of models that come from a path without a manifest: no hub has them.
pub(crate) const LOCAL: &str = "local";

/// What to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    text: String,
    target: Target,
}

/// The two things that a reference can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file or directory that exists.
    Path(PathBuf),
    /// A model of a hub.
    Model(ModelName),
}

/// A model of a hub, by the hub's own rules: a revision may contain `/`, which a version may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// Which hub: `hf`.
    pub namespace: String,
    /// Name on that hub: `organisation/model`.
    pub name: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
}

impl Reference {
    /// Reads what a user typed. A path wins if it exists, except for names that start with a hub's namespace;
    /// `./x` and `/x` are always paths.
    ///
    /// # Errors
    /// [`Error::Reference`].
    pub fn parse(text: &str) -> Result<Self> {
        let is_explicit_path = text.starts_with(['.', '/', '~']);
        let path = PathBuf::from(text);
        let namespace = text.split('/').next().unwrap_or_default();
        if (is_explicit_path || !HUB_NAMESPACES.contains(&namespace)) && path.exists() {
            return Ok(Self {
                text: text.into(),
                target: Target::Path(path),
            });
        }
        if is_explicit_path || text.ends_with(".axon") {
            return Err(Error::Package(axon_package::Error::FileNotFound { path }));
        }
        let target = Target::Model(ModelName::parse(text)?);
        Ok(Self {
            text: text.into(),
            target,
        })
    }

    /// What was typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it means.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl ModelName {
    fn parse(text: &str) -> Result<Self> {
        let (base, revision) = match text.split_once('@') {
            Some((base, revision)) => (base, Some(revision)),
            None => (text, None),
        };
        let refuse = |reason: &str| Error::Reference {
            text: text.into(),
            reason: reason.into(),
        };
        let id = ModelId::parse(base).map_err(|error| match error {
            axon_package::Error::Id { reason, .. } => {
                refuse(&format!("{reason}; write a path, or hf/organisation/model"))
            }
            other => Error::Package(other),
        })?;
        if let Some(revision) = revision {
            check_revision(revision).map_err(refuse)?;
        }
        let (namespace, name) = match id.namespace() {
            "hf" | "huggingface" => ("hf", id.name().to_owned()),
            LOCAL => (LOCAL, id.name().to_owned()),
            // A namespace that names no hub is an organisation of the default one.
            other => ("hf", format!("{other}/{}", id.name())),
        };
        Ok(Self {
            namespace: namespace.into(),
            name,
            revision: revision.map(Into::into),
        })
    }
}

/// A revision goes into URLs: `refs/pr/1` is fine, `../..` is not.
fn check_revision(revision: &str) -> Result<(), &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+".contains(c);
    let has_bad_part = revision
        .split('/')
        .any(|part| part.is_empty() || part.starts_with('.'));
    if revision.len() > 200 || !revision.chars().all(is_plain) || has_bad_part {
        return Err("the revision after `@` may hold letters, digits, `.`, `_`, `-`, `/`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models() {
        let check = |text: &str, expect: Option<(&str, Option<&str>)>| {
            let got = ModelName::parse(text).ok();
            let got = got
                .as_ref()
                .map(|model| (model.name.as_str(), model.revision.as_deref()));
            assert_eq!(got, expect, "{text}");
        };
        check("hf/org/name", Some(("org/name", None)));
        check("hf/gpt2", Some(("gpt2", None)));
        check("org/name@v1", Some(("org/name", Some("v1"))));
        check("hf/org/name@refs/pr/1", Some(("org/name", Some("refs/pr/1"))));
        check("hf/org/name@../../x", None);
        check("hf/org/name@", None);
        check("hf/org/name@a b", None);
        check("hf/../x", None);
        check("gpt2", None);
        check("local/digits", Some(("digits", None)));
        check("", None);
    }

    #[test]
    fn paths_win_where_they_exist() {
        let here = std::env::current_dir().expect("there is one");
        assert_eq!(
            Reference::parse(".").expect("exists").target(),
            &Target::Path(".".into())
        );
        let absolute = here.to_str().expect("utf-8");
        assert!(matches!(
            Reference::parse(absolute).expect("exists").target(),
            Target::Path(_)
        ));
        assert!(matches!(
            Reference::parse("src/lib.rs").expect("exists").target(),
            Target::Path(_)
        ));
        assert!(Reference::parse("./nothing/here").is_err());
        assert!(Reference::parse("nothing/here.axon").is_err());
        assert!(matches!(
            Reference::parse("nothing/here").expect("a name").target(),
            Target::Model(_)
        ));
    }
}
