# What stands for a reader's terminals when a document's commands are run in order. Servers go to
# the background on free ports, builds are done already, a person answers `y` to what is asked and
# presses Approve on what is opened.
# BINARY, PYTHON, WALK, PLANE, TOOLS and FAILED come from the test.
set -u
export XDG_CONFIG_HOME=$PWD/config COUNTERSIGN_URL=http://$PLANE COUNTERSIGN_API_KEY= NO_COLOR=1
# What a script calls.
PATH=$(dirname "$BINARY"):$PATH
servers=()
trap 'trap - ERR; kill "${servers[@]}" 2>/dev/null; wait' EXIT
trap 'echo "$LINENO $?" >> "$FAILED"' ERR

serve() { # NAME ADDRESS READY: the log says READY once the server answers
  "$BINARY" "$1" --listen "$2" > "$1.log" 2>&1 &
  servers+=($!)
  for _ in $(seq 300); do
    grep -q "$3" "$1.log" && return
    sleep 0.1
  done
  cat "$1.log"
  return 9
}

countersign() {
  case "$*" in
  tools) serve tools "$TOOLS" "example tools" ;;
  dev)
    serve dev "$PLANE" COUNTERSIGN_APPROVER_KEY || return
    eval "$(grep -o 'export COUNTERSIGN_.*' dev.log)"
    ;;
  approve*--digest*) "$BINARY" "$@" ;;
  approve*) "$PYTHON" "$WALK/terminal.py" "$BINARY" "$@" ;;
  "skill init "*)
    "$BINARY" "$@" || return
    sed "s/127.0.0.1:7412/$TOOLS/" "$3/skill.json" > moved && mv moved "$3/skill.json"
    ;;
  *) "$BINARY" "$@" ;;
  esac
}

cargo() {
  case "$*" in
  "build --release" | "test --release --workspace") ;; # done: this is part of it
  "run --release -- "*) shift 3 && countersign "$@" ;;
  *) return 9 ;;
  esac
}

pip() { :; } # PYTHON has what the documents install
python() { "$PYTHON" "$@"; }
xdg-open() { "$PYTHON" "$WALK/browser.py" "$1"; }
