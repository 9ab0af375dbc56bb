//! Whether a field is there at all: cases name the fields that they are about, so that a server without them is said
//! to be one, and not judged.

use prost::Message as _;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tidings::proto::DESCRIPTORS;

use super::report::Stop;

/// The field of this name, in a message by its full name.
pub(crate) fn field(message: &str, name: &str) -> Result<FieldDescriptorProto, Stop> {
    let missing = || Stop::NotBuilt(format!("{message} has no field {name}"));
    let found = fields(message)?
        .into_iter()
        .find(|field| field.name() == name);
    found.ok_or_else(missing)
}

fn fields(message: &str) -> Result<Vec<FieldDescriptorProto>, Stop> {
    let files = FileDescriptorSet::decode(DESCRIPTORS)?.file;
    let is_it = |package: &str, found: &DescriptorProto| {
        message
            .strip_prefix(package)
            .and_then(|rest| rest.strip_prefix('.'))
            == Some(found.name())
    };
    let found = files.into_iter().find_map(|file| {
        let package = file.package().to_owned();
        let mut messages = file.message_type.into_iter();
        messages.find(|found| is_it(&package, found))
    });
    Ok(found.map(|found| found.field).unwrap_or_default())
}
