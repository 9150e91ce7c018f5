# Completions of proxy-stone for bash: the binary itself tells them, and knows the routes and URLs of the running instance.
#
# Bash takes `http://127.0.0.1:8080/` and `--route=a` apart at `:` and `=`, and replaces the last piece only. They are put
# together again for the binary, and what stands before the last piece is taken off what it offers.
_proxy_stone() {
    local IFS=$'\013'
    local words=() index=-1 before='' line=$COMP_LINE word rest i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${line#"${line%%[![:blank:]]*}"}
        before=''
        if ((i > 0)) && [[ -n $word && $rest == "$line" ]]; then
            before=${words[index]}
        else
            index=$((index + 1))
        fi
        line=${rest#"$word"}
        if ((i == COMP_CWORD && BASH_VERSINFO[0] >= 4)); then
            if [[ -z $2 && $word == [:=]* ]]; then
                before+=$word
            fi
            # Without the quotes that it may have.
            word=$before$2
            words[index]=$word
        else
            words[index]=$before$word
        fi
    done
    COMPREPLY=( $( _CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX="$index" COMPLETE=bash proxy-stone -- "${words[@]}" ) )
    if [[ $? != 0 ]]; then
        unset COMPREPLY
        return
    fi
    COMPREPLY=( "${COMPREPLY[@]#"$before"}" )
    if [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
if ((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4)); then
    complete -o bashdefault -o nosort -F _proxy_stone proxy-stone
else
    complete -o bashdefault -F _proxy_stone proxy-stone
fi
