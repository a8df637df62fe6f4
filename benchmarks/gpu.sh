#!/usr/bin/env bash
# What this package does on one GPU, an H100 or H200, in at most 8 minutes:
#
#   bash benchmarks/gpu.sh [--peer DIR] [--text FILE] [--out FILE] [--parts "1 3"]
#   bash benchmarks/gpu.sh --device cpu --smoke      # tiny sizes: does every part run?
#
#   1  the tests marked `gpu`
#   2  a layer with each bias by FlexAttention, relative to causal flash attention     goal 0.7
#   3  training 124 M parameters for a minute: the share of the card's bfloat16 peak   goal 0.5
#   4  seconds to nanoGPT's loss on the characters of Shakespeare
#   5  decoding, relative to transformers with a static cache and a compiled step
#
# --peer is a folder with nanoGPT, which runs beside in parts 3 and 4; --text is its input.txt (tiny
# Shakespeare), without which part 4 is left out. Each part has its own time limit, and if one
# fails the others run. The table goes to stdout, everything to --out (gpu.json), logs to stderr.
# Another Python: PYTHON=.venv/bin/python bash benchmarks/gpu.sh
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
device=cuda smoke=no peer="" text="" out=gpu.json shorter="" parts="1 2 3 4 5"

refuse() {
    echo "error: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case "$1" in
        --smoke) smoke=yes; shift; continue ;;
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        --device | --peer | --text | --out | --parts)
            [ $# -gt 1 ] || refuse "$1 needs a value" ;;
        *) refuse "unknown option $1: give --device, --smoke, --peer, --text, --out or --parts" ;;
    esac
    case "$1" in
        --device) device=$2 ;;
        --peer) peer=$2 ;;
        --text) text=$2 ;;
        --out) out=$2 ;;
        --parts) parts=$2 ;;
    esac
    shift 2
done
case "$device" in cuda | cpu) ;; *) refuse "--device $device: give cuda or cpu" ;; esac
[ "$device" = cuda ] || [ "$smoke" = yes ] || refuse "--device cpu needs --smoke: sizes are a GPU's"
[ -z "$peer" ] || [ -f "$peer/train.py" ] || refuse "--peer $peer has no train.py: give nanoGPT's folder"
[ -z "$text" ] || [ -f "$text" ] || refuse "--text $text is no file"
for part in $parts; do
    case "$part" in [1-5]) ;; *) refuse "--parts $part: give numbers from 1 to 5" ;; esac
done
command -v "$PYTHON" > /dev/null || refuse "no $PYTHON here: set PYTHON"
: > "$out" || exit 2

export PYTHONPATH="$here/../src${PYTHONPATH:+:$PYTHONPATH}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# run NUMBER SECONDS COMMAND...: stdout and stderr go to files, with the exit status and the seconds.
run() {
    local number=$1 limit=$2 begin=$SECONDS status
    shift 2
    case " $parts " in *" $number "*) ;; *) return ;; esac
    [ "$smoke" = no ] || limit=$((3 * limit))  # compiling on a few busy cores
    echo "part $number, at most $limit s: $*" >&2
    timeout -k 5 "$limit" "$@" > "$work/$number.out" 2> >(tee "$work/$number.err" >&2)
    status=$?
    echo "$status $((SECONDS - begin)) $limit" > "$work/$number.status"
    [ "$status" = 0 ] || echo "part $number ended by $status" >&2
}

if [ -z "$text" ] && [ "$smoke" = yes ]; then
    text=$work/text.txt
    cat "$here"/../docs/*.md > "$text"
fi
with_peer=()
[ -z "$peer" ] || with_peer=(--peer "$peer")

# The time limits add up to 475 seconds.
if [ "$smoke" = no ]; then
    biases="alibi t5 kerple forgetting sandwich relative deberta shaw"
    layers="--contexts 4096 --positions $biases --kernels flex --seconds 85"
    sizes="--width 768 --layers 12 --vocabulary 50304"
    step="$sizes --contexts 1024 --tokens 32768 --seconds 60 --kernel fused --compile yes"
    recipe="--recipe large --time 45s"
    decoding="$sizes --tokens 200 --rounds 3 --dtype bfloat16"
else
    layers="--contexts 64 --positions alibi t5 --kernels fused --rounds 1 --seconds 30"
    sizes="--width 64 --layers 1 --vocabulary 256"
    step="$sizes --contexts 32 --tokens 256 --seconds 1"
    recipe="--recipe small --time 4s"
    decoding="$sizes --tokens 6 --rounds 1"
    shorter="--max_iters=2 --eval_interval=1 --eval_iters=1"
fi

# Words of the strings above are options; none has a space.
# shellcheck disable=SC2086
{
    run 1 65 "$PYTHON" -m pytest -m gpu -q -p no:cacheprovider \
        --junitxml "$work/1.xml" "$here/../tests/model/test_on_gpu.py" \
        "$here/../tests/training/test_on_gpu.py"
    run 2 105 "$PYTHON" "$here/positions.py" --device "$device" --here --layers-only --json $layers
    run 3 110 "$PYTHON" "$here/train_step.py" --device "$device" --dtype bfloat16 --json \
        --positions rotary ${with_peer[@]+"${with_peer[@]}"} $step
    if [ -n "$text" ]; then
        run 4 120 "$PYTHON" "$here/time_to_loss.py" --device "$device" --data "$text" --seeds 1 \
            --json ${with_peer[@]+"${with_peer[@]}"} --peer-options="$shorter" $recipe
    else
        echo "part 4 is left out: give --text FILE" >&2
    fi
    run 5 75 "$PYTHON" "$here/decode.py" --device "$device" --static --json $decoding
}
"$PYTHON" "$here/gpu_table.py" "$work" --device "$device" --out "$out"
