//! An OpenID provider of this machine: discovery, keys, codes with PKCE, ID tokens that are really
//! signed; and, where a test asks for it, ones that must not be believed.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use hmac::{Hmac, Mac as _};
use local::identity::IdentityOptions;
use openidconnect::{
    JsonWebKeyId, PrivateSigningKey as _,
    core::{CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// What this provider knows the control plane by.
const CLIENT: &str = "countersign";
const SECRET: &str = "the-secret-of-the-client";
const KEY_ID: &str = "key-1";
/// A key for tests and nothing else.
const KEY: &str = include_str!("../openid/test-only.pem");
/// How people sign in.
pub const ACR: &str = "urn:test:strong";

/// What is wrong with the next tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// `alg` is `none`, and there is no signature.
    Unsigned,
    /// Claims another key's signature has been put to.
    Forged,
    /// Signed with the client's secret (HS256).
    Symmetric,
    Audience,
    Issuer,
    Expired,
    Nonce,
    /// No word about when the person signed in.
    NoAuthTime,
    /// The person signed in an hour ago.
    OldAuthTime,
    /// Not in the way that was asked for.
    Acr,
    /// The token endpoint fails.
    Down,
}

/// Who signs in next.
#[derive(Clone, Debug)]
pub struct Account {
    pub subject: String,
    pub name: String,
    pub groups: Vec<String>,
}

impl Account {
    pub fn new(subject: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self { subject: subject.into(), name: format!("{subject} by name"), groups }
    }
}

#[derive(Default)]
struct Said {
    account: Option<Account>,
    fault: Fault,
    codes: BTreeMap<String, (BTreeMap<String, String>, Account)>,
    asked: Vec<BTreeMap<String, String>>,
    issued: u32,
}

struct Provider {
    issuer: String,
    key: CoreRsaPrivateSigningKey,
    said: Mutex<Said>,
}

/// One that runs.
pub struct OpenIdProvider {
    provider: Arc<Provider>,
    task: JoinHandle<()>,
}

impl OpenIdProvider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(crate::anywhere()).await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let id = Some(JsonWebKeyId::new(KEY_ID.into()));
        let key = CoreRsaPrivateSigningKey::from_pem(KEY, id).unwrap();
        let provider = Arc::new(Provider { issuer, key, said: Mutex::default() });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/jwks", get(keys))
            .route("/authorize", get(authorize))
            .route("/login", get(login))
            .route("/token", post(token))
            .with_state(provider.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { provider, task }
    }

    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// What a node is started with.
    pub fn options(&self) -> IdentityOptions {
        IdentityOptions {
            issuer: Some(self.issuer().to_owned()),
            client_id: Some(CLIENT.into()),
            client_secret: Some(SECRET.into()),
            groups_claim: None,
            scopes: Vec::new(),
            acr_values: vec![ACR.into()],
        }
    }

    /// Who signs in from now on.
    pub fn account(&self, account: Account) {
        self.provider.said.lock().unwrap().account = Some(account);
    }

    /// What is wrong from now on.
    pub fn fault(&self, fault: Fault) {
        self.provider.said.lock().unwrap().fault = fault;
    }

    /// What the last browser was sent with.
    pub fn asked(&self) -> BTreeMap<String, String> {
        self.provider.said.lock().unwrap().asked.last().unwrap().clone()
    }

    /// Answers nobody any more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn configuration(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(json!({ "keys": [serde_json::to_value(provider.key.as_verification_key()).unwrap()] }))
}

// Its sign-in page: a person presses.
async fn authorize(
    State(provider): State<Arc<Provider>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Html<String> {
    let mut said = provider.said.lock().unwrap();
    let name = said.account.as_ref().map_or("nobody", |account| &account.name).to_owned();
    let mut back = url::form_urlencoded::Serializer::new(String::new());
    back.extend_pairs(&query);
    let back = back.finish().replace('&', "&amp;");
    said.asked.push(query);
    Html(format!(
        "<!doctype html><html lang=en><title>Provider</title><link rel=icon href='data:,'>\
         <main><h1>Provider</h1><a id=go href='/login?{back}'>Sign in as {name}</a></main></html>"
    ))
}

async fn login(
    State(provider): State<Arc<Provider>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(query["client_id"], CLIENT);
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
    let mut said = provider.said.lock().unwrap();
    let account = said.account.clone().unwrap();
    said.issued += 1;
    let code = format!("code-{}", said.issued);
    let mut back = url::Url::parse(&query["redirect_uri"]).unwrap();
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", &query["state"]);
    said.codes.insert(code, (query, account));
    Redirect::to(back.as_str()).into_response()
}

async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let form: BTreeMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    if shown != Some(&format!("Basic {basic}")) {
        return refuse("invalid_client").into_response();
    }
    let mut said = provider.said.lock().unwrap();
    if said.fault == Fault::Down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    // A code is good once.
    let Some((asked, account)) = said.codes.remove(&form["code"]) else {
        return refuse("invalid_grant").into_response();
    };
    let challenge = B64.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    if asked["code_challenge"] != challenge || asked["redirect_uri"] != form["redirect_uri"] {
        return refuse("invalid_grant").into_response();
    }
    let id_token = provider.id_token(&asked, &account, said.fault);
    Json(json!({
        "access_token": "none-of-your-business", "token_type": "Bearer", "expires_in": 60,
        "id_token": id_token,
    }))
    .into_response()
}

impl Provider {
    fn id_token(
        &self,
        asked: &BTreeMap<String, String>,
        account: &Account,
        fault: Fault,
    ) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.issuer, "sub": account.subject, "aud": CLIENT, "iat": now,
            "exp": now + 300, "nonce": asked["nonce"], "auth_time": now, "acr": ACR,
            "name": account.name, "groups": account.groups,
            // Names nobody, whatever it says.
            "email": "dev-approver@example.com", "email_verified": false,
        });
        let mut set = |name: &str, value: Value| claims[name] = value;
        match fault {
            Fault::Audience => set("aud", json!("another-client")),
            Fault::Issuer => set("iss", json!("https://evil.example")),
            Fault::Expired => set("exp", json!(now - 1)),
            Fault::Nonce => set("nonce", json!("another")),
            Fault::NoAuthTime => set("auth_time", Value::Null),
            Fault::OldAuthTime => set("auth_time", json!(now - 3_600)),
            Fault::Acr => set("acr", json!("urn:test:weak")),
            _ => {}
        }
        let part = |value: &Value| B64.encode(value.to_string());
        let body = |alg: &str| {
            let header = json!({ "alg": alg, "typ": "JWT", "kid": KEY_ID });
            format!("{}.{}", part(&header), part(&claims))
        };
        match fault {
            Fault::Unsigned => format!("{}.", body("none")),
            Fault::Symmetric => {
                let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
                mac.update(body("HS256").as_bytes());
                format!("{}.{}", body("HS256"), B64.encode(mac.finalize().into_bytes()))
            }
            _ => {
                let algorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;
                let mut signed = self.key.sign(&algorithm, body("RS256").as_bytes()).unwrap();
                if fault == Fault::Forged {
                    signed[7] ^= 1;
                }
                format!("{}.{}", body("RS256"), B64.encode(signed))
            }
        }
    }
}
