//! Credentials of the gateway from the configuration: identities of IAM, access keys, client certificates. Values from
//! files are watched and replaced while they are in use.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use restore_model::Clock;
use restore_upstream::{
    AccessKey, ClientIdentity, Credential, Iam, IamLogin, IamOptions, IamProject, IamUser, Keys, SecretCell,
    SigningKey,
};
use secrecy::{ExposeSecret, SecretString};

use crate::compose::build_error::{BuildError, BuildErrors};
use crate::compose::rotation::Rotation;
use restore_config::{self as config, AgencyMember, Config, CredentialKind, Secret};

/// The credentials of the gateway's own, by name. All upstreams that use one share its token. What is written as it was
/// before is taken over from there.
pub(crate) fn held(
    config: &Config,
    before: Option<(&Config, &HashMap<String, Credential>)>,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
    build_errors: &mut BuildErrors,
) -> HashMap<String, Credential> {
    // Its answer is long: it is asked for only where an endpoint depends on it.
    let discovering = discovering(config);
    let credential = |(index, written): (usize, &config::Credential)| {
        let name = written.name.clone();
        let same = before.filter(|(old, _)| {
            old.credentials.contains(written)
                && self::discovering(old).contains(name.as_str()) == discovering.contains(name.as_str())
        });
        if let Some(same) = same.and_then(|(_, held)| held.get(&name)) {
            return Ok((name, same.clone()));
        }
        let made = match written.r#type {
            CredentialKind::Aksk => {
                keys(written, Arc::clone(clock), rotation).map(|keys| Credential::Keys(Arc::new(keys)))
            }
            _ => iam(written, discovering.contains(name.as_str()), rotation)
                .and_then(Iam::new)
                .map(|iam| Credential::Iam(Arc::new(iam))),
        };
        made.map(|made| (name.clone(), made)).map_err(BuildError::one("credential", index, &name))
    };
    config.credentials.iter().enumerate().map(credential).filter_map(|made| build_errors.keep(made)).collect()
}

/// The credentials whose catalog says where an upstream is.
fn discovering(config: &Config) -> BTreeSet<&str> {
    let without_endpoint = config.upstreams.iter().filter(|upstream| upstream.endpoint.is_none());
    without_endpoint.map(|upstream| upstream.credential.as_str()).collect()
}

fn iam(written: &config::Credential, catalog: bool, rotation: &mut Rotation) -> Result<IamOptions, String> {
    let user = |rotation: &mut Rotation| {
        Ok::<_, String>(IamUser {
            name: there(&written.user, "user")?.clone(),
            domain: there(&written.domain, "domain")?.clone(),
            password: watched(written, "password", there(&written.password, "password")?, rotation),
        })
    };
    let login = match written.r#type {
        CredentialKind::IamPassword => IamLogin::Password(user(rotation)?),
        CredentialKind::IamAgency => IamLogin::Agency {
            user: user(rotation)?,
            agency: there(&written.agency_name, "agency_name")?.clone(),
            domain: there(&written.agency_domain, "agency_domain")?.clone(),
            member: written.agency_member.unwrap_or(AgencyMember::AgencyName).as_str(),
        },
        CredentialKind::IamToken => {
            IamLogin::Token(watched(written, "token", there(&written.token, "token")?, rotation))
        }
        CredentialKind::Aksk => return Err("an access key needs no IAM".to_owned()),
    };
    let project = match (&written.project_id, &written.project) {
        (Some(id), _) => IamProject::Id(id.parse().map_err(|why| format!("project_id: {why}"))?),
        (None, Some(name)) => IamProject::Name(name.clone()),
        (None, None) => return Err("it has no project".to_owned()),
    };
    Ok(IamOptions {
        name: written.name.clone(),
        endpoint: there(&written.iam_endpoint, "iam")?.clone(),
        login,
        project,
        catalog,
        ca_file: written.ca_file.clone(),
    })
}

fn keys(
    written: &config::Credential,
    clock: Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<Keys, String> {
    let access_key = there(&written.access_key, "access_key")?;
    let secret_key = there(&written.secret_key, "secret_key")?;
    let project = there(&written.project_id, "project_id")?;
    let project = project.parse().map_err(|why| format!("project_id: {why}"))?;
    let watched = format!("credentials.{}", written.name);
    let cell = access_key_cell(watched, access_key, secret_key, written.security_token.as_ref(), rotation);
    Ok(Keys::new(&written.name, project, cell, clock))
}

/// An access key whose parts are replaced together. `watched` is what the log calls it.
pub(crate) fn access_key_cell(
    watched: String,
    access_key: &Secret,
    secret_key: &Secret,
    security_token: Option<&Secret>,
    rotation: &mut Rotation,
) -> SecretCell<AccessKey> {
    let (access_key, secret_key) = (access_key.clone(), secret_key.clone());
    let security_token = security_token.cloned();
    let first = AccessKey {
        access_key: access_key.expose().to_owned().into(),
        secret_key: secret_key.expose().to_owned().into(),
        security_token: security_token.as_ref().map(|token| token.expose().to_owned().into()),
    };
    let cell = SecretCell::new(first);
    let parts = [Some(&access_key), Some(&secret_key), security_token.as_ref()];
    let files: Vec<_> =
        parts.into_iter().flatten().filter_map(|part| part.file().map(Path::to_owned)).collect();
    rotation.watch(watched, files, cell.clone(), move |into| {
        let next = AccessKey {
            access_key: access_key.reread()?,
            secret_key: secret_key.reread()?,
            security_token: security_token.as_ref().map(Secret::reread).transpose()?,
        };
        into.replace_if(next, |old, new| {
            let token = |key: &AccessKey| key.security_token.clone().unwrap_or_default();
            differ(&old.access_key, &new.access_key)
                || differ(&old.secret_key, &new.secret_key)
                || differ(&token(old), &token(new))
        });
        Ok(())
    });
    cell
}

/// The certificate that an upstream is shown, if it is shown one.
pub(crate) fn client_identity(
    written: &config::Upstream,
    rotation: &mut Rotation,
) -> Result<Option<ClientIdentity>, String> {
    let (Some(path), Some(key)) = (written.client_certificate_file.clone(), written.client_key.clone())
    else {
        return Ok(None);
    };
    let read = {
        let path = path.clone();
        move || {
            let shown = path.display();
            std::fs::read(&path)
                .map_err(|error| format!("client_certificate_file {shown} cannot be read: {error}"))
        }
    };
    let identity = ClientIdentity::from_pem(&read()?, key.expose())?;
    let files: Vec<_> = std::iter::once(path).chain(key.file().map(Path::to_owned)).collect();
    let name = format!("upstreams.{}.client_certificate_file", written.name);
    rotation.watch(name, files, identity.clone(), move |into| {
        into.replace(&read()?, key.reread()?.expose_secret())
    });
    Ok(Some(identity))
}

/// Signing key of the messages to a receiver.
pub(crate) fn signing_key(
    written: &config::Webhook,
    rotation: &mut Rotation,
) -> Result<SecretCell<SigningKey>, String> {
    let parse = |secret: &str| SigningKey::parse(secret).map_err(|why| format!("the secret {why}"));
    let cell = SecretCell::new(parse(written.secret.expose())?);
    let secret = written.secret.clone();
    let file = written.secret.file().map(Path::to_owned);
    rotation.watch(format!("webhooks.{}.secret", written.name), file, cell.clone(), move |into| {
        into.replace(parse(secret.reread()?.expose_secret())?);
        Ok(())
    });
    Ok(cell)
}

/// A secret that is one by itself.
fn watched(written: &config::Credential, key: &str, secret: &Secret, rotation: &mut Rotation) -> SecretCell {
    let cell = SecretCell::from(secret.expose().to_owned());
    let from = secret.clone();
    let file = secret.file().map(Path::to_owned);
    rotation.watch(format!("credentials.{}.{key}", written.name), file, cell.clone(), move |into| {
        into.replace_if(from.reread()?, differ);
        Ok(())
    });
    cell
}

fn differ(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() != other.expose_secret()
}

/// Message for a case that the rules of the configuration exclude.
fn there<'s, T>(value: &'s Option<T>, key: &str) -> Result<&'s T, String> {
    value.as_ref().ok_or_else(|| format!("it has no `{key}`"))
}
