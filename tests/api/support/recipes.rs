//! Reads the recipes of `docs/identity-providers.md`: each heading with the settings, the sample
//! token and the customer id below it. It depends on nothing else here, so that other test targets
//! can include it.

use std::collections::BTreeMap;

use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/identity-providers.md");

/// The line of a recipe that states which customer its payload names.
const CUSTOMER_LINE: &str = "Customer id in this payload: `";

/// The settings and the sample token of one provider.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The heading; for a variant with the provider's name: `Keycloak: without aud`.
    pub heading: String,
    /// TOML: the whole table `[auth.issuers.NAME]`.
    pub settings: String,
    /// The token's claims.
    pub payload: Value,
    /// The token's header, or the members of it that matter, if the document shows any.
    pub header: Option<Value>,
    /// The customer id that Juspay receives.
    pub customer: String,
}

/// The content below one heading.
#[derive(Debug, Default)]
struct Section {
    heading: String,
    /// The fenced blocks, by their info strings.
    blocks: BTreeMap<String, String>,
    customer: Option<String>,
}

impl Recipe {
    /// The name below `auth.issuers`, and its settings.
    pub fn issuer(&self) -> (String, toml::Table) {
        let table: toml::Table = self.settings.parse().expect(&self.heading);
        let issuers = table["auth"]["issuers"].as_table().expect(&self.heading).clone();
        assert_eq!(issuers.len(), 1, "{}: one issuer", self.heading);
        let (name, settings) = issuers.into_iter().next().expect("one");
        (name, settings.as_table().expect(&self.heading).clone())
    }
}

/// Every recipe of the document, in order.
pub fn recipes() -> Vec<Recipe> {
    parse(DOCUMENT)
}

/// The recipe with this heading.
pub fn recipe(heading: &str) -> Recipe {
    let found = recipes().into_iter().find(|recipe| recipe.heading == heading);
    found.unwrap_or_else(|| panic!("docs/identity-providers.md has no recipe {heading:?}"))
}

fn parse(document: &str) -> Vec<Recipe> {
    sections(document).into_iter().filter_map(Section::into_recipe).collect()
}

/// The document, split at its headings of the second and third level.
fn sections(document: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut provider = "";
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let section = sections.last_mut().expect("there is one");
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let earlier = section.blocks.insert(info.to_owned(), block.join("\n"));
            let is_known = ["toml recipe", "json payload", "json header"].contains(&info);
            assert!(!is_known || earlier.is_none(), "{}: two blocks {info}", section.heading);
        } else if let Some(heading) = line.strip_prefix("## ") {
            provider = heading;
            sections.push(Section { heading: heading.to_owned(), ..Section::default() });
        } else if let Some(variant) = line.strip_prefix("### ") {
            let heading = format!("{provider}: {variant}");
            sections.push(Section { heading, ..Section::default() });
        } else if let Some(rest) = line.strip_prefix(CUSTOMER_LINE) {
            let customer = rest.split_once('`').expect("a closing backtick").0;
            let earlier = section.customer.replace(customer.to_owned());
            assert_eq!(earlier, None, "{}: two customers", section.heading);
        }
    }
    sections
}

impl Section {
    /// The recipe; `None` for a section that contains no part of one.
    fn into_recipe(mut self) -> Option<Recipe> {
        let heading = self.heading;
        let json = |text: String| {
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{heading}: {error}"))
        };
        let settings = self.blocks.remove("toml recipe");
        let payload = self.blocks.remove("json payload").map(json);
        let header = self.blocks.remove("json header").map(json);
        match (settings, payload, self.customer) {
            (Some(settings), Some(payload), Some(customer)) => {
                let begin = settings.trim_start().starts_with("[auth.issuers.");
                assert!(begin, "{heading}: the settings begin with another table");
                Some(Recipe { heading, settings, payload, header, customer })
            }
            (None, None, None) if header.is_none() => None,
            (settings, payload, customer) => panic!(
                "{heading}: a recipe needs settings ({}), a payload ({}) and the line `Customer id in \
                 this payload` ({})",
                settings.is_some(),
                payload.is_some(),
                customer.is_some()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::parse;

    const SETTINGS: &str = "```toml recipe\n[auth.issuers.main]\n```\n";
    const PAYLOAD: &str = "```json payload\n{\"sub\": \"a\"}\n```\n";
    const CUSTOMER: &str = "Customer id in this payload: `a`.\n";

    #[test]
    fn heading_with_a_part_of_a_recipe_is_an_error() {
        let whole = [SETTINGS, PAYLOAD, CUSTOMER];
        let document = format!("# T\n## A\n{}## Notes\n```sh\nx\n```\n", whole.concat());
        let variants = format!("{document}## B\n### c\n{}", whole.concat());
        let headings: Vec<_> = parse(&variants).into_iter().map(|recipe| recipe.heading).collect();
        assert_eq!(headings, ["A", "B: c"]);
        for left_out in 0..whole.len() {
            let mut parts = whole.to_vec();
            parts.remove(left_out);
            let part = format!("{document}## B\n{}", parts.concat());
            assert!(catch_unwind(|| parse(&part)).is_err(), "{part}");
        }
    }
}
