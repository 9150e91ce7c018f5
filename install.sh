#!/bin/sh
# Installs proxy-stone (binary, man pages, shell completions) into a prefix; --uninstall takes it away again.
# Running it twice changes nothing the second time. No root is needed for a prefix that you own.
set -eu

usage() {
  cat <<USAGE
Usage: ./install.sh [--prefix DIR] [--binary FILE] [--uninstall]

  --prefix DIR   where to install (default: \$HOME/.local)
  --binary FILE  install this binary instead of building one
  --uninstall    remove what an earlier run installed under the prefix

Built from source it needs Rust (cargo) and a C compiler.
USAGE
}

fail() {
  echo "install.sh: $1" >&2
  exit "${2:-1}"
}

prefix=${HOME:-}/.local
binary=
uninstall=false
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || fail "--prefix needs a directory" 2; prefix=$2; shift 2 ;;
    --prefix=*) prefix=${1#*=}; shift ;;
    --binary) [ $# -ge 2 ] || fail "--binary needs a file" 2; binary=$2; shift 2 ;;
    --binary=*) binary=${1#*=}; shift ;;
    --uninstall) uninstall=true; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "unknown argument '$1'" 2 ;;
  esac
done
case $prefix in
  /*) ;;
  *) prefix=$(pwd)/$prefix ;;
esac
here=$(cd "$(dirname "$0")" && pwd)

bin=$prefix/bin/proxy-stone
man1=$prefix/share/man/man1
man5=$prefix/share/man/man5
bash_dir=$prefix/share/bash-completion/completions
zsh_dir=$prefix/share/zsh/site-functions
fish_dir=$prefix/share/fish/vendor_completions.d

if $uninstall; then
  rm -f "$bin" "$bash_dir/proxy-stone" "$zsh_dir/_proxy-stone" "$fish_dir/proxy-stone.fish"
  rm -f "$man1"/proxy-stone.1 "$man1"/proxy-stone-*.1 "$man5"/proxy-stone.toml.5
  echo "removed proxy-stone from $prefix"
  exit 0
fi

if [ -z "$binary" ]; then
  command -v cargo >/dev/null 2>&1 || fail "cargo is not installed; install Rust, or pass --binary FILE" 9
  echo "building proxy-stone (a few minutes the first time)"
  # The faster allocator's own build wants make.
  allocator=
  if command -v make >/dev/null 2>&1; then allocator="--features jemalloc"; fi
  # shellcheck disable=SC2086 # no word at all where there is no allocator
  (cd "$here" && cargo build --release --locked $allocator --bin proxy-stone)
  binary=${CARGO_TARGET_DIR:-$here/target}/release/proxy-stone
fi
[ -f "$binary" ] || fail "there is no binary at $binary" 4

# A file is put in place by a rename, so that a running proxy-stone or a reading shell never sees half of it.
place() { # place SOURCE TARGET MODE
  mkdir -p "$(dirname "$2")" || fail "cannot create $(dirname "$2"); choose another --prefix" 9
  cp "$1" "$2.new.$$" || fail "cannot write $2" 9
  chmod "$3" "$2.new.$$"
  mv -f "$2.new.$$" "$2"
}

place "$binary" "$bin" 755
for page in "$here"/man/*.1; do place "$page" "$man1/$(basename "$page")" 644; done
for page in "$here"/man/*.5; do place "$page" "$man5/$(basename "$page")" 644; done
place "$here/completions/proxy-stone.bash" "$bash_dir/proxy-stone" 644
place "$here/completions/_proxy-stone" "$zsh_dir/_proxy-stone" 644
place "$here/completions/proxy-stone.fish" "$fish_dir/proxy-stone.fish" 644

echo "installed $("$bin" --version) in $prefix"
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) echo "note: $prefix/bin is not in your PATH" ;;
esac
