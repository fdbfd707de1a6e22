//! Where uploads are kept: a directory, or a bucket that speaks S3.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;

use crate::config::{S3Settings, Uploads};

/// # Errors
/// A directory that cannot be made, or settings that S3 cannot use; in words for whoever runs the node.
pub fn open(uploads: &Uploads) -> Result<Arc<dyn ObjectStore>, String> {
    match uploads {
        Uploads::Directory(directory) => {
            make_private(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
            let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| error.to_string())?;
            // Each upload has a directory of its own, which goes with it.
            Ok(Arc::new(store.with_automatic_cleanup(true)))
        }
        Uploads::S3(settings) => s3(settings).map_err(|error| format!("uploads to S3: {error}")),
    }
}

/// The directory that an upload has of its own, where uploads are in a directory. Whoever deletes the upload deletes it, too;
/// what was not written to its end has to be looked after.
pub fn directory_of(uploads: &Uploads, path: &object_store::path::Path) -> Option<PathBuf> {
    match uploads {
        Uploads::Directory(directory) => path.parts().next().map(|own| directory.join(own.as_ref())),
        Uploads::S3(_) => None,
    }
}

/// A directory that only the user of this process may enter: what is in it is reached through the node or not at all.
fn make_private(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))
}

fn s3(settings: &S3Settings) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&settings.bucket);
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let (Some(key), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret.reveal());
    }
    Ok(Arc::new(builder.build()?))
}
