//! What objects of a kind registered at run time look like, as a `.proto` text.

/// Where the shape of a kind is written down.
#[derive(Clone, Copy, Debug)]
pub struct Shape(Text);

#[derive(Clone, Copy, Debug)]
enum Text {
    Fields { package: &'static str, spec: &'static str, status: &'static str },
    File { proto: &'static str, message: &'static str },
}

impl Shape {
    /// A kind in this package (not `threeport`) whose spec has these fields, as in a `.proto` message: comments are shown
    /// by `tptctl explain`, `debug_redact` marks secrets, `(threeport.v1.references)` names of other objects.
    pub const fn of_spec(package: &'static str, spec: &'static str) -> Self {
        Self(Text::Fields { package, spec, status: "" })
    }

    /// Adds fields of the status; 1 and 2 are taken by what every status has.
    #[must_use]
    pub const fn with_status(self, fields: &'static str) -> Self {
        match self.0 {
            Text::Fields { package, spec, .. } => Self(Text::Fields { package, spec, status: fields }),
            Text::File { .. } => panic!("the file says what the status has"),
        }
    }

    /// The message of this full name in the text of a whole `.proto` file, outside package `threeport`, that may import
    /// the files of `threeport/v1` and Google's well-known types.
    pub const fn of_file(proto: &'static str, message: &'static str) -> Self {
        Self(Text::File { proto, message })
    }

    /// The text of the file, and the full name of the message in it.
    pub(super) fn file(self, kind: &str) -> (String, String) {
        let (package, spec, status) = match self.0 {
            Text::File { proto, message } => return (proto.to_owned(), message.to_owned()),
            Text::Fields { package, spec, status } => (package, spec, status),
        };
        let name = message_name(kind);
        let proto = format!(
            "syntax = \"proto3\";
package {package};
import \"google/protobuf/struct.proto\";
import \"threeport/v1/meta.proto\";
import \"threeport/v1/options.proto\";
message {name} {{
  // What every object carries.
  threeport.v1.ObjectMeta meta = 1;
  // What the user wants.
  {name}Spec spec = 2;
  // What the controllers saw.
  {name}Status status = 3;
}}
message {name}Spec {{
{spec}
}}
message {name}Status {{
  // The generation of the spec that the conditions speak of.
  int64 observed_generation = 1;
  // `Ready`, and what else the controllers report.
  repeated threeport.v1.Condition conditions = 2;
{status}
}}
"
        );
        (proto, format!("{package}.{name}"))
    }
}

/// `BlueWidget` of `blue-widget`.
fn message_name(kind: &str) -> String {
    let mut name = String::with_capacity(kind.len());
    for word in kind.split('-') {
        let mut characters = word.chars();
        name.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(characters.as_str());
    }
    name
}
