//! Whose credentials are used: kache's own pair, else the SDK's chain, and the metadata service of EC2 only where nothing else
//! is configured and no endpoint is set.
