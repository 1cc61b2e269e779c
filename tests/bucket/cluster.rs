//! A cluster of servers that loses one.

use catalog_core::{PushOptions, StageOptions};

use crate::common::{Host, noise};
use crate::seaweed::Seaweed;
use crate::{catalog_of, reference};

// Red when the first answer of a cluster that has just lost a server is taken as final.
#[test]
fn a_lost_server_is_no_lost_model() {
    let Some(mut weed) = Seaweed::cluster() else { return };
    let (host, other) = (Host::new(), Host::new());
    let bytes = noise((70 << 20) + 1, 1);
    let catalog = catalog_of(&host, &weed);
    let options = StageOptions::default().with_id("large".to_owned());
    let digest = catalog.stage(&host.file("large.gguf", &bytes).into(), &options).unwrap().digest;
    catalog.push("large", &reference("s3://bucket/models"), &PushOptions::default()).unwrap();
    // The first server is the master; the last is the filer with the gateway.
    drop(weed.servers.remove(2));
    let model = reference("s3://bucket/models#large");
    let receipt = catalog_of(&other, &weed).stage(&model, &StageOptions::default()).unwrap();
    assert_eq!(receipt.digest, digest);
}
