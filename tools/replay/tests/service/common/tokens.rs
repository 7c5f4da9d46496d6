//! An issuer of tokens, honest or not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(crate) keys: Vec<Key>,
}

pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
    pub(crate) public_pem: String,
    public_raw: Vec<u8>,
}

impl Key {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::EdDSA => rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519),
            _ => {
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
            }
        };
        let pair = pair.unwrap();
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let public_pem = pair.public_key_pem();
        let public_raw = pair.public_key_raw().to_vec();
        Self { id: id.into(), algorithm, key: key.unwrap(), public_pem, public_raw }
    }

    pub(crate) fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            let x = URL_SAFE_NO_PAD.encode(&self.public_raw);
            return json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x});
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

pub(crate) fn now() -> u64 {
    reelvault::env::Env::real().clock.now_ms() / 1000
}

/// A token of any header and signature.
pub(crate) fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    format!("{}.{}.{}", part(header.as_bytes()), part(claims.as_bytes()), part(signature))
}

impl Issuer {
    pub(crate) fn new(name: &str) -> Self {
        let algorithms = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
        let keys = algorithms.iter().map(|a| Key::new(&format!("{a:?}"), *a)).collect();
        Self { name: name.into(), keys }
    }

    pub(crate) fn jwks(&self) -> String {
        json!({"keys": self.keys.iter().map(Key::jwk).collect::<Vec<_>>()}).to_string()
    }

    pub(crate) fn claims(&self, site: &str, roles: &[&str]) -> Value {
        json!({
            "iss": self.name, "aud": "reelvault", "sub": "robot-1", "exp": now() + 600,
            "site": site, "roles": roles,
        })
    }

    pub(crate) fn token(&self, site: &str, roles: &[&str]) -> String {
        self.keys[0].sign(&self.claims(site, roles))
    }
}
