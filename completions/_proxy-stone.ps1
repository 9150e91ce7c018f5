
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'proxy-stone' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'proxy-stone'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'proxy-stone' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('serve', 'serve', [CompletionResultType]::ParameterValue, 'Run the proxy in the foreground: in front of one URL, or as a config file says')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show how the running instance is doing')
            [CompletionResult]::new('reload', 'reload', [CompletionResultType]::ParameterValue, 'Read the config again and take it over if it has no errors')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'Stop the running instance once what is in flight has finished')
            [CompletionResult]::new('cache', 'cache', [CompletionResultType]::ParameterValue, 'See and purge what is stored')
            [CompletionResult]::new('route', 'route', [CompletionResultType]::ParameterValue, 'See which route takes which request')
            [CompletionResult]::new('upstream', 'upstream', [CompletionResultType]::ParameterValue, 'See upstreams and their endpoints')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Show the last finished exchanges, and with -f those to come')
            [CompletionResult]::new('metrics', 'metrics', [CompletionResultType]::ParameterValue, 'Show rate, hit ratio and latency of every route and upstream')
            [CompletionResult]::new('config', 'config', [CompletionResultType]::ParameterValue, 'Write, check and explain the config file')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell, or write those of all shells')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page, or write one page per command and one of the config file')
            break
        }
        'proxy-stone;serve' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The config file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The config file')
            [CompletionResult]::new('-l', '-l', [CompletionResultType]::ParameterName, 'Listen here instead: 8080, :8080 (every address), 127.0.0.1:8080')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here instead: 8080, :8080 (every address), 127.0.0.1:8080')
            [CompletionResult]::new('--mode', '--mode', [CompletionResultType]::ParameterName, 'Override the mode of every route')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'Apply this profile of the config')
            [CompletionResult]::new('--workers', '--workers', [CompletionResultType]::ParameterName, 'Worker threads [default: one per core]')
            [CompletionResult]::new('--grace', '--grace', [CompletionResultType]::ParameterName, 'How long what is in flight may take after a stop')
            [CompletionResult]::new('--state-dir', '--state-dir', [CompletionResultType]::ParameterName, 'The directory for what must survive a restart')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--demo', '--demo', [CompletionResultType]::ParameterName, 'Start a small built-in origin and stand in front of it')
            [CompletionResult]::new('--watch', '--watch', [CompletionResultType]::ParameterName, 'Reload when the config file changes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;status' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;reload' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;stop' {
            [CompletionResult]::new('--grace', '--grace', [CompletionResultType]::ParameterName, 'How long what is in flight may take; 0: end at once')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--no-wait', '--no-wait', [CompletionResultType]::ParameterName, 'Return at once instead of waiting for the end')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;cache' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('ls', 'ls', [CompletionResultType]::ParameterValue, 'List stored responses')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List stored responses')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show one stored response: freshness, fields, tags')
            [CompletionResult]::new('purge', 'purge', [CompletionResultType]::ParameterValue, 'Remove stored responses, or mark them as stale')
            [CompletionResult]::new('stats', 'stats', [CompletionResultType]::ParameterValue, 'Show the store''s size, limits and counters')
            break
        }
        'proxy-stone;cache;ls' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'One key, as `cache ls -o wide` prints it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'One URL, with all its variants')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'Every URL that begins so; /path: on any host')
            [CompletionResult]::new('--glob', '--glob', [CompletionResultType]::ParameterName, 'Every URL that matches host/path; * is anything')
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'Every URL of this host')
            [CompletionResult]::new('--route', '--route', [CompletionResultType]::ParameterName, 'Everything that this route stored')
            [CompletionResult]::new('--tag', '--tag', [CompletionResultType]::ParameterName, 'Everything that carries this tag')
            [CompletionResult]::new('--older-than', '--older-than', [CompletionResultType]::ParameterName, 'Everything that arrived longer ago')
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Only entries for which this holds: url, host, path, status, state, age, ttl, size, type, upstream, route, tags')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'At most so many entries')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;cache;list' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'One key, as `cache ls -o wide` prints it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'One URL, with all its variants')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'Every URL that begins so; /path: on any host')
            [CompletionResult]::new('--glob', '--glob', [CompletionResultType]::ParameterName, 'Every URL that matches host/path; * is anything')
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'Every URL of this host')
            [CompletionResult]::new('--route', '--route', [CompletionResultType]::ParameterName, 'Everything that this route stored')
            [CompletionResult]::new('--tag', '--tag', [CompletionResultType]::ParameterName, 'Everything that carries this tag')
            [CompletionResult]::new('--older-than', '--older-than', [CompletionResultType]::ParameterName, 'Everything that arrived longer ago')
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Only entries for which this holds: url, host, path, status, state, age, ttl, size, type, upstream, route, tags')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'At most so many entries')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;cache;show' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;cache;purge' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'One key, as `cache ls -o wide` prints it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'One URL, with all its variants')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'Every URL that begins so; /path: on any host')
            [CompletionResult]::new('--glob', '--glob', [CompletionResultType]::ParameterName, 'Every URL that matches host/path; * is anything')
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'Every URL of this host')
            [CompletionResult]::new('--route', '--route', [CompletionResultType]::ParameterName, 'Everything that this route stored')
            [CompletionResult]::new('--tag', '--tag', [CompletionResultType]::ParameterName, 'Everything that carries this tag')
            [CompletionResult]::new('--older-than', '--older-than', [CompletionResultType]::ParameterName, 'Everything that arrived longer ago')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Everything')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Only show what it would take')
            [CompletionResult]::new('--soft', '--soft', [CompletionResultType]::ParameterName, 'Mark as stale instead: validated at the next use, and served if the origin fails')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Don''t ask')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Don''t ask')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;cache;stats' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;route' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('ls', 'ls', [CompletionResultType]::ParameterValue, 'List the routes in the order in which they are tried')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the routes in the order in which they are tried')
            [CompletionResult]::new('test', 'test', [CompletionResultType]::ParameterValue, 'Show which route takes a request, and why the others do not')
            break
        }
        'proxy-stone;route;ls' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;route;list' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;route;test' {
            [CompletionResult]::new('-H', '-H ', [CompletionResultType]::ParameterName, 'A request field; may be given more than once')
            [CompletionResult]::new('--header', '--header', [CompletionResultType]::ParameterName, 'A request field; may be given more than once')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;upstream' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('ls', 'ls', [CompletionResultType]::ParameterValue, 'List every upstream''s endpoints with their connections and failures')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List every upstream''s endpoints with their connections and failures')
            break
        }
        'proxy-stone;upstream;ls' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;upstream;list' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;logs' {
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Only exchanges for which this holds')
            [CompletionResult]::new('--since', '--since', [CompletionResultType]::ParameterName, 'Not before: 5m, 2h, or a time as RFC 3339 writes it')
            [CompletionResult]::new('--until', '--until', [CompletionResultType]::ParameterName, 'Not after')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'At most so many of the remembered ones, the newest [default: 100 with -f, else all]')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'At most so many of the remembered ones, the newest [default: 100 with -f, else all]')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on with exchanges as they finish')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on with exchanges as they finish')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;metrics' {
            [CompletionResult]::new('--interval', '--interval', [CompletionResultType]::ParameterName, 'Time between two refreshes')
            [CompletionResult]::new('--over', '--over', [CompletionResultType]::ParameterName, 'Measure for this long instead of since the start')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-w', '-w', [CompletionResultType]::ParameterName, 'Go on: refresh the table on a terminal, a JSON object a line in a pipe')
            [CompletionResult]::new('--watch', '--watch', [CompletionResultType]::ParameterName, 'Go on: refresh the table on a terminal, a JSON object a line in a pipe')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;config' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('init', 'init', [CompletionResultType]::ParameterValue, 'Write a commented starter file')
            [CompletionResult]::new('lint', 'lint', [CompletionResultType]::ParameterValue, 'Check a config file: every problem at once, with its place and what to do')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print the config that is in effect, with everything built in')
            [CompletionResult]::new('schema', 'schema', [CompletionResultType]::ParameterValue, 'Print the JSON Schema of the config file, for editors')
            break
        }
        'proxy-stone;config;init' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Write over a file that is there')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;config;lint' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The config file, named as `serve` has it')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The config file, named as `serve` has it')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'Check the file with this profile only')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the findings')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the findings')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--deny-warnings', '--deny-warnings', [CompletionResultType]::ParameterName, 'Exit with 1 if there are warnings')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;config;show' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'Apply this profile')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'How to print the result')
            [CompletionResult]::new('--columns', '--columns', [CompletionResultType]::ParameterName, 'Print these columns only, in this order')
            [CompletionResult]::new('--sort-by', '--sort-by', [CompletionResultType]::ParameterName, 'Sort by this column; with a leading ''-'' the largest first')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('--origin', '--origin', [CompletionResultType]::ParameterName, 'Say of each value where it comes from: file and line, profile, environment variable or default')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;config;schema' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;completions' {
            [CompletionResult]::new('--out', '--out', [CompletionResultType]::ParameterName, 'Write the scripts of all shells into this directory')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'proxy-stone;man' {
            [CompletionResult]::new('--out', '--out', [CompletionResultType]::ParameterName, 'Write a page per command into this directory')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'The admin socket of the instance')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The instance''s name; it names socket and state directory')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for the instance [default: 10s]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour. NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results and errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more on standard error; twice for everything')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
