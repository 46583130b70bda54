import Model
import Vault

/// Style sheet, scripts and icon, in the executable; their addresses change with their contents.
enum Assets {
    struct Asset: Sendable {
        let path: String
        let type: String
        let bytes: [UInt8]

        init(_ name: String, _ type: String, _ bytes: [UInt8]) {
            let hash = bytes.withUnsafeBytes { BlobCrypto.sha256($0) }.array
            path = "/assets/\(Hex.encode(Array(hash.prefix(6))))/\(name)"
            self.type = type
            self.bytes = bytes
        }
    }

    static let style = Asset("console.css", "text/css; charset=utf-8", PackageResources.console_css)
    static let script = Asset("console.js", "text/javascript; charset=utf-8", PackageResources.console_js)
    static let restores = Asset("restores.js", "text/javascript; charset=utf-8", PackageResources.restores_js)
    static let files = Asset("files.js", "text/javascript; charset=utf-8", PackageResources.files_js)
    static let icon = Asset("icon.svg", "image/svg+xml", PackageResources.icon_svg)

    static let all = [style, script, restores, files, icon]
}
