complete --keep-order --exclusive --command proxy-stone --arguments "(COMPLETE=fish proxy-stone -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
