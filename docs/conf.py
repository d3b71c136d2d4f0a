"""How Sphinx builds the site: ``make docs``."""

from motools.version import __version__

project = "motools"
version = release = __version__
html_title = f"motools {__version__}"
html_theme = "furo"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d5fa8", "color-brand-content": "#1d5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7db4f0", "color-brand-content": "#7db4f0"},
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

extensions = ["myst_parser"]
myst_heading_anchors = 3
