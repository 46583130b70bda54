import Model

/// What a server may make the machine do as root: the file `/etc/holdfast/allow.yaml` of the machine.
///
/// No server changes it. Without the file a server may have the machine's own points restored into new folders below
/// `/var/restored`, and nothing else: whoever holds the server must not be able to overwrite a file here, which would be to
/// run programs as root.
package struct MachineAllowance: Hashable, Sendable {
    /// Where the file lies.
    package static let defaultPath = "/etc/holdfast/allow.yaml"
    /// New folders are made below this unless the file names another.
    package static let usualFolders = Array("/var/restored".utf8)

    /// What may be put back where it was.
    package enum InPlace: Hashable, Sendable {
        case nothing
        /// What the policy protects; the policy is the server's.
        case protected
        /// What lies below these.
        case paths([[UInt8]])
    }

    /// Files may be put back in place.
    package var inPlace = InPlace.nothing
    /// Each order may be given a new folder below this one; `nil`: none may.
    package var newFolders: [UInt8]? = usualFolders
    /// Directories below which anything may be restored; absolute.
    package var restorePaths: [[UInt8]] = []
    /// Points of other machines may be restored as well, where the others say that something may be.
    package var otherMachines = false
    /// Commands that policies may run, word for word.
    package var hooks: [String] = []

    /// What holds without a file.
    package init() {}

    /// What holds while the file cannot be read or has a mistake.
    package static let nothing: MachineAllowance = {
        var allowance = MachineAllowance()
        allowance.newFolders = nil
        return allowance
    }()

    /// Whether a server may have `path` put back where it was.
    ///
    /// Texts are compared: whoever restores must not follow symbolic links on the way.
    /// - Parameters:
    ///   - path: absolute, one slash between names, none at the end.
    ///   - protected: the paths that the policy protects.
    package func allowsInPlace(_ path: [UInt8], protected: [[UInt8]]) -> Bool {
        guard Self.isPlain(path) else { return false }
        return switch inPlace {
        case .nothing: false
        case .protected: protected.contains { PathText.contains($0, path) }
        case .paths(let allowed): allowed.contains { PathText.contains($0, path) }
        }
    }

    /// The directory below which a server may restore into `path`; `nil` when it may not. Neither the directory of new folders
    /// itself, nor what is above a directory that was named, is meant.
    package func place(for path: [UInt8]) -> [UInt8]? {
        guard Self.isPlain(path) else { return nil }
        if let base = newFolders, PathText.contains(base, path), base != path { return base }
        return restorePaths.first { PathText.contains($0, path) }
    }

    /// Names that are not UTF-8 are judged like others.
    private static func isPlain(_ path: [UInt8]) -> Bool {
        let names = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        if path == [UInt8(ascii: "/")] { return true }
        return names.first?.isEmpty == true && names.count > 1
            && names.dropFirst().allSatisfy { !$0.isEmpty && $0 != [0x2E] && $0 != [0x2E, 0x2E] && !$0.contains(0) }
    }

    /// Whether a policy may run `command`. White space between words counts once; everything else must be the same.
    package func allowsHook(_ command: String) -> Bool {
        guard let plain = try? CommandText.parse(command) else { return false }
        return hooks.contains(plain)
    }

    /// The allowance in `bytes`, with everything that is wrong at once. An empty file is none.
    package static func check(_ bytes: [UInt8]) -> Checked<MachineAllowance> {
        let root: YAMLNode?
        do {
            root = try YAMLReader.read(bytes)
        } catch {
            return Checked(value: nil, problems: [error])
        }
        var allowance = MachineAllowance()
        guard let root, !root.isNull else { return Checked(value: allowance, problems: []) }
        var reader = NodeReader()
        allowance.read(root, &reader)
        return Checked(value: reader.problems.isEmpty ? allowance : nil, problems: reader.sortedProblems)
    }

    /// The allowance in `bytes`.
    ///
    /// - Throws: `usage` with a line for each problem; `nothing` is allowed then.
    package static func parse(_ bytes: [UInt8], file: String = defaultPath) throws -> MachineAllowance {
        try check(bytes).get(from: file)
    }

    private mutating func read(_ root: YAMLNode, _ reader: inout NodeReader) {
        guard
            let fields = reader.fields(
                root, of: "allow.yaml", keys: ["restore", "hooks"],
                synonyms: ["restores": "restore", "commands": "hooks"], example: "\"hooks: [...]\" or \"restore: ...\"")
        else { return }
        let hooks: ListSetting<String>? = reader.list(
            fields["hooks"], of: "hooks", policy: "allow", example: "[/usr/local/bin/dump-db]", allowsOverride: false
        ) { $0.value($1, of: "hooks", example: "/usr/local/bin/dump-db", parse: CommandText.parse) }
        self.hooks = hooks?.items.map(\.value) ?? []
        if let node = fields["restore"] { readRestores(node, &reader) }
    }

    private mutating func readRestores(_ node: YAMLNode, _ reader: inout NodeReader) {
        guard
            let restore = reader.fields(
                node, of: "restore", keys: ["in-place", "new-folder", "paths", "other-machines"],
                synonyms: [
                    "in_place": "in-place", "inplace": "in-place", "path": "paths", "elsewhere": "paths",
                    "new-folders": "new-folder", "new_folder": "new-folder", "others": "other-machines",
                    "other_machines": "other-machines", "other-machine": "other-machines",
                ], example: "{in-place: [/home], paths: [/srv/restore]}")
        else { return }
        if case .sequence = restore["in-place"]?.content {
            inPlace = .paths(Self.paths(restore["in-place"], "in-place", "[/home]", &reader))
        } else if Self.flag(restore["in-place"], "in-place", "true, false, or a list of paths", &reader) == true {
            inPlace = .protected
        }
        let folder = reader.value(restore["new-folder"], of: "new-folder", example: "false, or a path") {
            text throws(TextProblem) -> [UInt8]? in
            if text == "false" { return nil }
            return text == "true" ? Self.usualFolders : try PathText.parse(text)
        }
        if let folder { newFolders = folder }
        if newFolders == [UInt8(ascii: "/")], let node = restore["new-folder"] {
            reader.report(
                node.position, "\"new-folder\" cannot be the root of the machine.",
                instead: "Name a directory for nothing else, such as /var/restored.")
        }
        restorePaths = Self.paths(restore["paths"], "paths", "[/srv/restore]", &reader)
        otherMachines = Self.flag(restore["other-machines"], "other-machines", "true or false", &reader) ?? false
    }

    private static func flag(
        _ node: YAMLNode?, _ key: String, _ example: String, _ reader: inout NodeReader
    ) -> Bool? {
        reader.value(node, of: key, example: example) { text throws(TextProblem) in
            guard text == "true" || text == "false" else {
                throw TextProblem(message: "\"\(key)\" cannot be \(shown(text)).", instead: "Write \(example).")
            }
            return text == "true"
        }
    }

    private static func paths(
        _ node: YAMLNode?, _ key: String, _ example: String, _ reader: inout NodeReader
    ) -> [[UInt8]] {
        let paths: ListSetting<[UInt8]>? = reader.list(
            node, of: key, policy: "allow", example: example, allowsOverride: false
        ) { $0.path($1, of: key) }
        return paths?.items.map(\.value) ?? []
    }
}
