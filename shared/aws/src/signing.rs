//! Signature Version 4 for services that are called without their SDK.

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use countersign_store::PortError;
use std::time::SystemTime;

/// What signs requests of a service without its SDK.
pub(crate) struct Signing {
    pub(crate) credentials: Credentials,
    pub(crate) region: String,
}

impl Signing {
    /// The headers of a request, signed.
    pub(crate) fn sign(
        &self,
        (service, method): (&str, &str),
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(String, String)>, PortError> {
        let mut settings = SigningSettings::default();
        // S3 alone signs a path as it is sent; every other service signs it encoded once more.
        settings.percent_encoding_mode = match service {
            "s3" => PercentEncodingMode::Single,
            _ => PercentEncodingMode::Double,
        };
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(unsigned)?;
        let signable =
            SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body))
                .map_err(unsigned)?;
        let (signature, _) = sign(signable, &params.into()).map_err(unsigned)?.into_parts();
        let all = headers.iter().copied().chain(signature.headers());
        Ok(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// The domain of AWS's services in a region.
pub(crate) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

fn unsigned(error: impl std::fmt::Display) -> PortError {
    PortError::Unavailable(format!("the request cannot be signed: {error}"))
}
