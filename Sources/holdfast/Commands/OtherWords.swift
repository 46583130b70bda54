import Model

/// Words of other backup tools. Hands that know restic or borg are told the command to use here.
enum OtherWords {
    /// What to answer when `word` stands where a command should; `nil` when it is one of ours or of nobody.
    static func answer(to word: String) -> HoldfastError? {
        guard let answer = answers[word.lowercased()] else { return nil }
        return HoldfastError(
            .usage, "There is no command \"\(TreePath.display(word.utf8))\" here.", context: ["hint": "Use \(answer)."])
    }

    /// Every word with the command that does the same here.
    static let answers: [String: String] = [
        "init": "`holdfast vault init --vault LOCATION` to make a vault",
        "repo-create": "`holdfast vault init --vault LOCATION` to make a vault",
        "rcreate": "`holdfast vault init --vault LOCATION` to make a vault",
        "create": "`holdfast backup PATH...` to protect files, `holdfast vault init` to make a vault",
        "save": "`holdfast backup PATH...` to protect files",
        "archive": "`holdfast backup PATH...` to protect files",
        "snapshot": "`holdfast backup PATH...` to protect files, `holdfast points` to see what there is",
        "snapshots": "`holdfast points` to see what can be restored",
        "list": "`holdfast points` to see what can be restored, `holdfast ls POINT` for the files of one point",
        "list-archives": "`holdfast points` to see what can be restored",
        "info": "`holdfast points` for points, `holdfast vault stats` for the vault",
        "rinfo": "`holdfast vault stats` for the vault",
        "forget":
            "`holdfast retention apply --keep-daily 7 ...` for rules, `holdfast points delete POINT` for one point",
        "delete": "`holdfast points delete POINT`, then `holdfast vault reclaim` to free the space",
        "rdelete": "the system's own `rm -r` to remove a whole vault directory",
        "prune":
            "`holdfast retention apply --keep-daily 7 ...` to thin out points, then `holdfast vault reclaim` to free the "
            + "space",
        "compact": "`holdfast vault reclaim` to free the space that nothing needs",
        "gc": "`holdfast vault reclaim` to free the space that nothing needs",
        "cleanup": "`holdfast vault reclaim` to free the space that nothing needs",
        "check": "`holdfast vault verify`, with --level data to read everything",
        "verify": "`holdfast vault verify`, with --level data to read everything",
        "extract": "`holdfast restore POINT PATH... --to DIR`",
        "recover": "`holdfast restore POINT PATH... --to DIR`",
        "dump": "`holdfast cat POINT PATH`",
        "umount": "the system's `umount DIR`, for users other than root `fusermount3 -u DIR`",
        "stats": "`holdfast vault stats`",
        "key": "`holdfast vault keys list`, `add` or `remove`",
        "keys": "`holdfast vault keys list`, `add` or `remove`",
        "passwd": "`holdfast vault keys add`, then `holdfast vault keys remove` for the old one",
        "change-passphrase": "`holdfast vault keys add`, then `holdfast vault keys remove` for the old one",
        "repair": "`holdfast vault verify` to see what is damaged; the next backup heals what the machine still has",
        "rebuild": "`holdfast vault rebuild` to make the catalog anew from the packs",
        "rebuild-index": "`holdfast vault rebuild` to make the catalog anew from the packs",
        "unlock": "nothing: locks of programs that have ended do not count here",
        "break-lock": "nothing: locks of programs that have ended do not count here",
        "tag": "`holdfast backup --label TEXT ...` when the point is made",
        "reclaim": "`holdfast vault reclaim`",
        "join": "`holdfast vault join --vault LOCATION`",
        "undo": "`holdfast restore --undo`",
        "size": "`holdfast estimate PATH...`",
        "search": "`holdfast find PATTERN`",
        "locate": "`holdfast find PATTERN --all-points`",
    ]
}
