//! Requests to IAM and its responses (cloud APIs 5.1).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use restore_model::Timestamp;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::catalog::Catalog;
use super::{Granted, IamLogin, IamOptions, IamProject, IamUser, until_renewal};
use crate::coding::{NO_CODING, read_whole};
use crate::fault::Fault;
use crate::{Client, Token};

/// Largest answer that is read: a catalog may be long where `nocatalog` is not known.
const ANSWER: usize = 512 * 1024;
/// Message if IAM rejects the secret.
pub(super) const REFUSED: &str = "IAM answered 401: the secret, the user or the project is wrong";
/// Where tokens are issued.
const TOKENS: &str = "/v3/auth/tokens";

/// Gets a token for the project.
pub(super) async fn grant(client: &Client, options: &IamOptions) -> Result<Granted, String> {
    let project = match &options.project {
        IamProject::Id(id) => json!({ "project": { "id": id } }),
        IamProject::Name(name) => json!({ "project": { "name": name } }),
    };
    let (token, body) = match &options.login {
        IamLogin::Password(user) => ask(client, options, &password(user), &project, None).await?,
        IamLogin::Token(secret) => {
            let identity = with_secret(r#"{"methods":["token"],"token":{"id":"#, &secret.current(), "}}");
            ask(client, options, &identity, &project, None).await?
        }
        IamLogin::Agency { user, agency, domain, member } => {
            // The user's own token opens the user's domain, and only serves to assume the agency.
            let own = json!({ "domain": { "name": user.domain } });
            let own = ask(client, options, &password(user), &own, None).await;
            let (own, _) = own.map_err(|why| format!("the user's own login: {why}"))?;
            let role = json!({ "domain_name": domain, *member: agency });
            let identity = json!({ "methods": ["assume_role"], "assume_role": role });
            let identity = Zeroizing::new(identity.to_string());
            let assumed = ask(client, options, &identity, &project, Some(&own)).await;
            assumed.map_err(|why| format!("the agency: {why}"))?
        }
    };
    let text = |path: &str| body.pointer(path).and_then(Value::as_str);
    let project = text("/token/project/id").ok_or("IAM's token is for no project")?.to_owned();
    let time = |path: &str| text(path).and_then(|time| time.parse::<Timestamp>().ok());
    let life = time("/token/expires_at").zip(time("/token/issued_at"));
    let (end, begin) = life.ok_or("IAM does not say how long its token lasts")?;
    let life = Duration::from_micros(u64::try_from(end.micros_since(begin)).unwrap_or(0));
    let catalog =
        options.catalog.then(|| Catalog::read(&body["token"]["catalog"], &project, &options.endpoint));
    Ok(Granted { lasts: until_renewal(life, token.spread()), token, project, catalog })
}

fn password(user: &IamUser) -> Zeroizing<String> {
    let name = json!(user.name);
    let domain = json!({ "name": user.domain });
    let before = format!(
        r#"{{"methods":["password"],"password":{{"user":{{"name":{name},"domain":{domain},"password":"#
    );
    with_secret(&before, &user.password.current(), "}}}")
}

/// Text around a secret that is written as a JSON string. All of it is wiped after use.
fn with_secret(before: &str, secret: &SecretString, after: &str) -> Zeroizing<String> {
    let secret = secret.expose_secret();
    // Room for the worst escape of every byte: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(before.len() + after.len() + 2 + 6 * secret.len()));
    text.push_str(before);
    let quoted = Zeroizing::new(serde_json::to_string(secret).unwrap_or_default());
    text.push_str(&quoted);
    text.push_str(after);
    text
}

/// Asks for a token; `own` is who assumes a role.
async fn ask(
    client: &Client,
    options: &IamOptions,
    identity: &str,
    scope: &Value,
    own: Option<&Token>,
) -> Result<(Token, Value), String> {
    let body =
        Zeroizing::new(format!(r#"{{"auth":{{"identity":{identity},"scope":{scope}}}}}"#).into_bytes());
    let base = options.endpoint.to_string();
    let query = if options.catalog && scope.get("project").is_some() { "" } else { "?nocatalog=true" };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{TOKENS}{query}", base.trim_end_matches('/')))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, NO_CODING)
        .body(Bytes::from_owner(body).into())
        .map_err(|error| error.to_string())?;
    if let Some(own) = own {
        let value: HeaderValue = own.to_header().ok_or("IAM's token is no header")?;
        request.headers_mut().insert("x-auth-token", value);
    }
    // What the client says of a failed connection names the address and nothing of the body.
    let answer = client.request(request).await.map_err(|error| Fault::from_client(&error).detail)?;
    let answer = read_whole(answer, ANSWER).await.map_err(|(head, why)| match head.status {
        StatusCode::UNAUTHORIZED => REFUSED.to_owned(),
        status => format!("IAM's answer ({}) {why}", status.as_u16()),
    })?;
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::CREATED {
        if head.status == StatusCode::UNAUTHORIZED {
            return Err(REFUSED.to_owned());
        }
        return Err(format!("IAM answered {}", head.status.as_u16()));
    }
    let token = head.headers.get("x-subject-token").and_then(Token::from_header);
    let token = token.ok_or("IAM's answer has no X-Subject-Token")?;
    let body: Value = serde_json::from_slice(&body).map_err(|_| "IAM's answer is no JSON")?;
    Ok((token, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_as_json_whatever_is_in_it() {
        let user = IamUser {
            name: "a\"b".to_owned(),
            domain: "d\\".to_owned(),
            password: "q\"\\\u{1}ß".to_owned().into(),
        };
        let read: Value = serde_json::from_str(&password(&user)).unwrap();
        let expected = json!({"methods": ["password"], "password": {"user": {
            "name": "a\"b", "domain": {"name": "d\\"}, "password": "q\"\\\u{1}ß"}}});
        assert_eq!(read, expected);
    }
}
