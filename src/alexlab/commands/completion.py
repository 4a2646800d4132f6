"""Print a script that completes verbs, settings and options in bash.

    eval "$(alexlab completion bash)"

That line is for the current shell; add it to ~/.bashrc for all later shells.
"""

from alexlab.commands.arguments import command_parser

# Hydra's own script completes the settings of a program without verbs, so this script passes Hydra
# the words after the verb. It does not use `compgen -W`, which would expand $(...) in a value.
BASH = """\
_alexlab() {
    local line=${COMP_LINE:0:COMP_POINT} word="" choices="" choice settings
    local -a words command
    read -ra words <<< "$line"
    if [[ $line != *[[:space:]] ]]; then
        word=${words[-1]}
        unset "words[-1]"
    fi
    command=("${words[0]}" "${words[1]}")
    settings=none
    case "${words[1]}" in
        "") choices="VERBS" ;;
        train|explain|lr-find) settings="${words[*]:2}" ;;
        sweeps) [[ -n ${words[2]} ]] || choices="list rm rerun clean" ;;
        completion) choices="bash" ;;
        data)
            [[ -n ${words[2]} ]] && command+=("${words[2]}")
            case "${words[2]}" in
                "") choices="fetch check preview" ;;
                fetch) [[ -n ${words[3]} ]] || choices="DATA_SETS" ;;
                check|preview) settings="${words[*]:3}" ;;
            esac ;;
    esac
    if [[ -n ${words[1]} && $word == -* ]]; then
        choices=$("${command[@]}" --help 2> /dev/null | grep -oE -- "--[a-z][a-z-]+")
    elif [[ $settings != none ]]; then
        settings="alexlab $settings $word"
        choices=$(COMP_LINE=$settings "${words[0]}" train -sc query=bash 2> /dev/null)
    fi
    COMPREPLY=()
    while read -r choice; do
        [[ -n $choice && $choice == "$word"* ]] && COMPREPLY+=("$choice")
    done <<< "$(printf "%s" "$choices" | tr " " "\\n" | sort -u)"
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2> /dev/null
    if [[ $COMP_WORDBREAKS == *=* && $word == *=* ]]; then  # readline replaces what follows the =
        COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}")
    fi
}
complete -o default -F _alexlab alexlab
"""


def main() -> None:
    """Run `alexlab completion`."""
    parser = command_parser("completion", __doc__)
    parser.add_argument("shell", choices=("bash",))
    parser.parse_args()

    from alexlab.__main__ import VERBS
    from alexlab.commands.data import NAMES

    script = BASH.replace("VERBS", " ".join(VERBS)).replace("DATA_SETS", " ".join(NAMES))
    print(script, end="")
