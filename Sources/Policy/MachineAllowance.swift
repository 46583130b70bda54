import Model

/// What a server may make the machine do as root: the file `/etc/holdfast/allow.yaml` of the machine.
///
/// No server changes it. Without the file a server may put protected files back where they were, and nothing else.
package struct MachineAllowance: Hashable, Sendable {
    /// Where the file lies.
    package static let defaultPath = "/etc/holdfast/allow.yaml"

    /// Protected files may be put back in place.
    package var restoresInPlace = true
    /// Directories below which anything may be restored; absolute.
    package var restorePaths: [[UInt8]] = []
    /// Commands that policies may run, word for word.
    package var hooks: [String] = []

    /// What holds without a file.
    package init() {}

    /// What holds while the file cannot be read or has a mistake.
    package static let nothing: MachineAllowance = {
        var allowance = MachineAllowance()
        allowance.restoresInPlace = false
        return allowance
    }()

    /// Whether a server may restore to `path`.
    ///
    /// Texts are compared: whoever restores must not follow symbolic links on the way.
    /// - Parameter protected: the paths that the policy protects.
    package func allowsRestore(to path: [UInt8], protected: [[UInt8]]) -> Bool {
        guard let text = String(validating: path, as: UTF8.self) else {
            // Names that are not UTF-8: the part before them decides, dots excluded by hand.
            let names = path.split(separator: UInt8(ascii: "/"))
            guard path.first == UInt8(ascii: "/"), !names.contains(where: { $0 == [0x2E] || $0 == [0x2E, 0x2E] })
            else { return false }
            return allows(path, protected)
        }
        guard let plain = try? PathText.parse(text) else { return false }
        return allows(plain, protected)
    }

    private func allows(_ path: [UInt8], _ protected: [[UInt8]]) -> Bool {
        (restorePaths + (restoresInPlace ? protected : [])).contains { PathText.contains($0, path) }
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
        guard let node = fields["restore"],
            let restore = reader.fields(
                node, of: "restore", keys: ["in-place", "paths"],
                synonyms: ["in_place": "in-place", "inplace": "in-place", "path": "paths", "elsewhere": "paths"],
                example: "{in-place: true, paths: [/srv/restore]}")
        else { return }
        let inPlace = reader.value(restore["in-place"], of: "in-place", example: "true or false") {
            text throws(TextProblem) in
            guard text == "true" || text == "false" else {
                throw TextProblem(message: "\"in-place\" cannot be \(shown(text)).", instead: "Write true or false.")
            }
            return text == "true"
        }
        restoresInPlace = inPlace ?? true
        let paths: ListSetting<[UInt8]>? = reader.list(
            restore["paths"], of: "paths", policy: "allow", example: "[/srv/restore]", allowsOverride: false
        ) { $0.path($1, of: "paths") }
        restorePaths = paths?.items.map(\.value) ?? []
    }
}
