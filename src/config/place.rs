//! Where the config file is, when nobody says.

use std::path::PathBuf;

/// The file's name.
pub const FILE_NAME: &str = "proxy-stone.toml";

/// The places that are looked at, in this order: the working directory, the user's config directory (XDG), `/etc`.
pub fn places() -> Vec<PathBuf> {
    places_of(&|name| std::env::var_os(name).map(PathBuf::from))
}

/// The first of the usual places that has a file.
pub fn find_file() -> Option<PathBuf> {
    places().into_iter().find(|path| path.is_file())
}

fn places_of(env: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    // The XDG specification: a relative path in its variables is to be ignored.
    let xdg = env("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let home = || env("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".config"));
    let user = xdg.or_else(home).map(|config| config.join("proxy-stone").join(FILE_NAME));
    let here = PathBuf::from(FILE_NAME);
    let system = PathBuf::from("/etc/proxy-stone").join(FILE_NAME);
    std::iter::once(here).chain(user).chain([system]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_places() {
        let look = |xdg: &'static str, home: &'static str| {
            let env = move |name: &str| match name {
                "XDG_CONFIG_HOME" => Some(PathBuf::from(xdg)),
                _ => Some(PathBuf::from(home)),
            };
            places_of(&env).iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let system = "/etc/proxy-stone/proxy-stone.toml";
        assert_eq!(look("/x", "/h"), format!("proxy-stone.toml /x/proxy-stone/proxy-stone.toml {system}"));
        assert_eq!(
            look("x", "/h"),
            format!("proxy-stone.toml /h/.config/proxy-stone/proxy-stone.toml {system}")
        );
        assert_eq!(look("", ""), format!("proxy-stone.toml {system}"));
    }
}
