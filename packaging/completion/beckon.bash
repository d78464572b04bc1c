# Completion of beckon for bash. Commands, options and what they take are read from `beckon --help`, so that there is
# no second list of them here; names of devices and requests come from the coordinator, if one is configured.

# The lines of `beckon [COMMAND] --help`.
_beckon_help() { # [COMMAND]
    beckon ${1:+"$1"} --help 2>/dev/null
}

# "  clients    [--online]   list the devices" -> clients
_beckon_commands() {
    _beckon_help | sed -nE 's/^  ([a-z]+) .*/\1/p'
}

# "  -o, --output FILE   fetch it too" -> -o, --output
_beckon_options() { # COMMAND
    _beckon_help "$1" | sed -nE 's/^  (-[a-zA-Z], )?(--[a-z-]+).*/\1\2/p; s/^  (-[a-zA-Z]), --.*/\1/p' | tr -d ' ' | tr ',' '\n' | sort -u
}

# The same line -> FILE; nothing for an option that takes nothing.
_beckon_takes() { # COMMAND OPTION
    _beckon_help "$1" | sed -nE "s/^  (-[a-zA-Z], )?(--[a-z-]+) ([A-Z]+).*/\1\2 \3/p" | tr ',' ' ' |
        awk -v option="$2" '{ for (i = 1; i < NF; i++) if ($i == option) { print $NF; exit } }'
}

# "Usage: beckon get CLIENT PATH [-o FILE|-]" and 1 -> CLIENT. A list of words (create|verify) comes as it is.
_beckon_argument() { # COMMAND NUMBER
    _beckon_help "$1" | awk -v number="$2" '
        NR == 1 {
            for (i = 4; i <= NF && $i !~ /^\[?-/; i++)
                if (i == number + 3) { gsub(/[][]/, "", $i); print $i }
        }'
}

# Into $_beckon_answer, from the coordinator, for ten seconds; no longer than BECKON_COMPLETION_TIMEOUT (2) seconds are
# waited for each list, and not at all after one that did not come. Names have few characters: nothing else gets into the
# shell.
_beckon_ask() { # clients | downloads | batches...
    local now=$SECONDS what list
    [[ ${BECKON_COORDINATOR_URL:-} && ${BECKON_TOKEN_FILE:-} ]] || { _beckon_answer=; return 0; }
    [[ ${_beckon_asked:-} != "$*" || $((now - ${_beckon_asked_at:--60})) -ge 10 ]] || return 0
    _beckon_answer=$(for what in "$@"; do
        list=$(timeout "${BECKON_COMPLETION_TIMEOUT:-2}" beckon "$what" 2>/dev/null </dev/null) || break
        awk 'NR > 1 { print $1 }' <<<"$list" | grep -xE '[A-Za-z0-9._-]{1,64}'
    done)
    _beckon_asked="$*" _beckon_asked_at=$now
}

# What can stand where help says KIND.
_beckon_fill() { # COMMAND KIND CURRENT
    local words='' command=$1
    shift
    case $1 in
    FILE) mapfile -t COMPREPLY < <(compgen -f -- "$2") && compopt -o filenames 2>/dev/null; return ;;
    CLIENT | PATTERN | PATTERNS) _beckon_ask clients; words=$_beckon_answer ;;
    BATCH) _beckon_ask batches; words=$_beckon_answer ;;
    ID)
        case $command in
        status | cancel | watch) _beckon_ask downloads batches; words=$_beckon_answer ;;
        rm) _beckon_ask downloads; words=$_beckon_answer ;;
        esac ;; # ticket wants a new one
    STATUS) words="queued accepted running completed failed rejected cancelled expired" ;;
    SCOPES) words="read read,pull admin" ;;
    NAME) words= ;;
    *\|*) words=${1//|/ } ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$2")
}

# Whether a word of `beckon get` says which devices, so that no CLIENT comes before the PATH.
_beckon_is_selection() { # COMMAND WORD
    [[ $1 == get && $2 =~ ^--(all|clients|label)(=|$) ]]
}

_beckon() {
    local current=${COMP_WORDS[COMP_CWORD]} command='' takes='' number=1 ended='' many='' i word
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $takes ]]; then takes=
        elif [[ $word == -- ]]; then ended=1
        elif [[ $word == -* && ! $ended ]]; then
            takes=$(_beckon_takes "$command" "$word")
            ! _beckon_is_selection "$command" "$word" || many=1
        elif [[ ! $command ]]; then command=$word
        else number=$((number + 1))
        fi
    done
    if [[ $takes ]]; then _beckon_fill "$command" "$takes" "$current"
    elif [[ $current == -* && ! $ended ]]; then mapfile -t COMPREPLY < <(compgen -W "$(_beckon_options "$command")" -- "$current")
    elif [[ ! $command ]]; then mapfile -t COMPREPLY < <(compgen -W "$(_beckon_commands)" -- "$current")
    elif [[ ! $many ]]; then _beckon_fill "$command" "$(_beckon_argument "$command" "$number")" "$current"
    fi
}

complete -F _beckon beckon
