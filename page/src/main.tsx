import { render } from "preact";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import "./styles/ask.css";
import "./styles/jobs.css";
import "./styles/review.css";
import "./styles/models.css";
import { App } from "./app";
import { applyTheme } from "./state/theme";

applyTheme();
const root = document.getElementById("page");
if (root) render(<App />, root);
