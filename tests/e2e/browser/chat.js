/** What one does on the page of a room. */

export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

/** What one may do with a message, once it is open. */
export async function actions(page, text) {
  const line = page.locator(".log li", { has: page.locator(".text", { hasText: text }) });
  await line.getByRole("button", { name: /^Actions for/ }).click();
  return line.getByRole("group", { name: "Actions" });
}
