"""Compiles or parses the examples in programming languages."""

import json
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
TOOLS = ROOT / "target/clients"
# Android's org.json.
JSON_JAR = "/usr/share/java/com.android.json.jar"


def fresh(name):
    folder = TOOLS / "examples" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def run(*command):
    result = subprocess.run([str(it) for it in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def typescript(blocks):
    """Each page is a folder; its first example is tokens.ts, which the others import."""
    folder = fresh("typescript")
    pages = {}
    for block in blocks:
        pages.setdefault(block.path.stem, []).append(block.text)
    for page, texts in pages.items():
        (folder / page).mkdir()
        for source in (ROOT / "clients/typescript/token-source.ts", HERE / "my-app.ts"):
            shutil.copy(source, folder / page)
        for number, text in enumerate(texts):
            name = "tokens.ts" if number == 0 else f"example-{number}.ts"
            (folder / page / name).write_text(text)
    shutil.copy(HERE / "react-native.d.ts", folder)
    config = json.loads((ROOT / "tests/clients/tsconfig.json").read_text())
    options = config["compilerOptions"]
    npm = TOOLS / "npm/node_modules"
    options |= {"noEmit": True, "rootDir": "/", "types": [], "paths": {"*": [f"{npm}/*", f"{npm}/@types/*"]}}
    # Apps don't have this option, and React Native's NativeModules is an index signature.
    options["noPropertyAccessFromIndexSignature"] = False
    options.pop("outDir")
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts", "*/*.ts"]}))
    run(npm / ".bin/tsc", "-p", folder)


def kotlin(blocks):
    folder = fresh("kotlin")
    for number, block in enumerate(blocks):
        (folder / f"example-{number}.kt").write_text(block.text)
    compiler = TOOLS / "npm/node_modules/kotlin-compiler/bin/kotlinc"
    sources = [ROOT / "clients/kotlin/TokenSource.kt", *sorted(HERE.glob("*.kt")), *sorted(folder.glob("*.kt"))]
    run(compiler, "-Werror", "-jvm-target", "1.8", "-cp", JSON_JAR, "-d", folder / "out", *sources)


def parsed(module, blocks):
    """There is no compiler of these languages on a registry of this project."""
    import tree_sitter

    parser = tree_sitter.Parser(tree_sitter.Language(module.language()))
    for block in blocks:
        faults = list(errors(parser.parse(block.text.encode()).root_node))
        assert not faults, f"{block}: {[(node.start_point[0] + 1, node.text[:60]) for node in faults]}"
        assert "compiler has checked it" in block.path.read_text(), f"{block}: the page must say that nothing compiled it"


def errors(node):
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from errors(child)


def swift(blocks):
    import tree_sitter_swift

    parsed(tree_sitter_swift, blocks)


def dart(blocks):
    import tree_sitter_dart

    parsed(tree_sitter_dart, blocks)
